// Sums on vectors of length one.

/** Little-endian float32 from base64. */
export function decode(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

export function dot(a, b) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

/** Each vector's place in the plane that keeps most of their differences: the first two principal components,
 *  by power iteration on the matrix of inner products of the centred vectors (classical scaling, Torgerson 1952). */
export function plane(vectors) {
  const n = vectors.length;
  const mean = new Float64Array(vectors[0].length);
  for (const v of vectors) for (let i = 0; i < mean.length; i++) mean[i] += v[i] / n;
  const centred = vectors.map((v) => Float64Array.from(v, (x, i) => x - mean[i]));
  const gram = centred.map((a) => Float64Array.from(centred, (b) => dot(a, b)));
  const axes = [];
  for (let axis = 0; axis < 2; axis++) {
    let v = Float64Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898 + axis * 78.233) + 0.01);
    let value = 0;
    for (let step = 0; step < 200; step++) {
      const next = Float64Array.from(gram, (row) => dot(row, v));
      for (const done of axes) {
        const along = dot(next, done.v);
        for (let i = 0; i < n; i++) next[i] -= along * done.v[i];
      }
      value = Math.sqrt(dot(next, next));
      if (value < 1e-12) break;
      v = next.map((x) => x / value);
    }
    axes.push({ v, value: Math.max(0, value) });
  }
  return vectors.map((_, i) => axes.map((axis) => axis.v[i] * Math.sqrt(axis.value)));
}
