"""Writes the reference documents from the code that they describe: ``python -m app.api.reference``."""

from collections.abc import Iterable

from app.api.error_causes import CAUSES
from app.api.errors import ENGINE_RULES, INTERNAL, RULES
from app.core.metric_names import METRICS
from app.core.settings import Settings
from app.core.settings.explain import explain
from app.documents import FOLDER

_NOTE = "<!-- Written by `make documents`. -->\n"


def settings() -> str:
    """Every knob under ``args``."""
    lines = [
        "# Settings",
        "",
        "Everything under `args` of a Serve file, with its default. `embedgate config check FILE` names the line of",
        "every mistake; `embedgate config explain` prints this list.",
        "",
        "| knob | default | meaning |",
        "|---|---|---|",
    ]
    for knob in explain(Settings):
        default = "required" if knob.is_required else f"`{knob.default}`" if knob.default is not None else ""
        lines.append(f"| `{'.'.join(knob.path)}` | {_cell(default)} | {_cell(' '.join(knob.meaning))} |")
    return _document(lines)


def metrics() -> str:
    """Every metric."""
    lines = [
        "# Metrics",
        "",
        "Ray's exporter puts `ray_` in front of each name, and adds `_total` to counters. No label has unbounded",
        "values.",
        "",
        "| name | kind | labels | what |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind.value} | {labels} | {_cell(metric.help)} |")
    return _document(lines)


def errors() -> str:
    """Every error code."""
    statuses: dict[str, set[int]] = {}
    for rule in (*RULES.values(), *ENGINE_RULES.values(), INTERNAL):
        for code in (rule.scoped_code, rule.bare_code):
            statuses.setdefault(code, set()).add(rule.status)
    lines = [
        "# Errors",
        "",
        'Every error has the envelope `{"error": {"message", "type", "param", "code"}}` and an `x-request-id`; none',
        "is charged. 429 and 503 carry `retry-after`, in seconds from 1 to 60; `x-should-retry: false` stands where",
        "trying again cannot help, and the SDKs obey both. Scoped routes (`/{project_id}/{endpoint_slug}/v1/…`) and",
        "`/v1` name some errors differently.",
        "",
        "| code | status | why | what helps |",
        "|---|---|---|---|",
    ]
    for code in sorted(statuses):
        cause = CAUSES[code]
        status = ", ".join(map(str, sorted(statuses[code])))
        who = "" if cause.who == "caller" else "(operator) "
        lines.append(f"| `{code}` | {status} | {_cell(cause.why)} | {_cell(who + cause.remedy)} |")
    return _document(lines)


WRITTEN = {"settings.md": settings, "metrics.md": metrics, "errors.md": errors}


def _document(lines: Iterable[str]) -> str:
    return _NOTE + "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")


def main() -> None:
    """Write them all."""
    for name, text in WRITTEN.items():
        (FOLDER / name).write_text(text())


if __name__ == "__main__":
    main()
