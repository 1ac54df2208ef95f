"""200 texts for the golden vectors: many languages, emoji, code, and lengths from 1 to 256 tokens."""

import random

SEED = 20_261_121

SENTENCES = [
    "The capital of France is Paris.",
    "La capitale de la France est Paris, et la Seine la traverse.",
    "Die Rechnung wird am Monatsende automatisch gestellt.",
    "El perro duerme tranquilo bajo la mesa de la cocina.",
    "O preço do café subiu novamente esta semana.",
    "Il treno per Milano parte dal binario sette.",
    "De fiets staat nog steeds buiten in de regen.",
    "Katten sover på soffan hela eftermiddagen.",
    "Pociąg do Krakowa odjeżdża za dziesięć minut.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Az időjárás holnap napos és meleg lesz.",
    "Trenul întârzie din cauza zăpezii.",
    "Бързата кафява лисица прескача мързеливото куче.",
    "Москва — столица России.",
    "Київ розташований на берегах Дніпра.",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας.",
    "Türkiye'nin en kalabalık şehri İstanbul'dur.",
    "القاهرة هي عاصمة مصر وأكبر مدنها.",
    "ירושלים היא עיר עתיקה מאוד.",
    "تهران پایتخت ایران است.",
    "दिल्ली भारत की राजधानी है।",
    "ঢাকা বাংলাদেশের রাজধানী।",
    "சென்னை ஒரு பெரிய நகரம்.",
    "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
    "Hà Nội là thủ đô của Việt Nam.",
    "Jakarta adalah kota terbesar di Indonesia.",
    "北京是中国的首都。",
    "臺北的夜市非常熱鬧。",
    "東京は日本の首都です。",
    "서울은 대한민국의 수도이다.",
    "Nairobi ni mji mkuu wa Kenya.",
    "🚀 Launch day! 🎉🎉 Everything is 💯",
    "👩‍👩‍👧‍👦 family, 🏳️‍🌈 flag, 👍🏽 tone, e\u0301 combining",
    "def fib(n: int) -> int:\n    return n if n < 2 else fib(n - 1) + fib(n - 2)",
    "SELECT name, sum(amount) FROM ledger GROUP BY name HAVING sum(amount) > 0;",
    "E = mc², ∑ᵢ xᵢ ≤ √(n·‖x‖²), α→β, 10⁻⁹ s",
    "https://example.com/a/b?q=1&r=%20#top",
    "NULL",
    " ",
    "\t\n",
    "a",
    "?",
    "I",
    "!!!???...",
    "1234567890 3.14159 -42 1e-9 0x1F",
    "ＦＵＬＬＷＩＤＴＨ ｔｅｘｔ",
    "ﬁligree ﬂuﬀy ligatures",
    "zero\u200bwidth\u200djoiner",
    "MiXeD CaSe StAyS the SAME vector as mixed case stays",
    "Supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
]

WORDS = [
    "invoice",
    "customer",
    "latency",
    "vector",
    "ocean",
    "granite",
    "melody",
    "theorem",
    "garden",
    "protein",
    "engine",
    "harbour",
    "winter",
    "contract",
    "signal",
    "orchard",
    "compiler",
    "village",
    "lantern",
    "velocity",
    "museum",
    "treaty",
    "copper",
    "river",
]


def golden_texts() -> list[str]:
    """The texts, the same at every call."""
    source = random.Random(SEED)
    texts = list(SENTENCES)
    texts += [" ".join(source.choices(WORDS, k=round(words * 2.5))) for words in range(1, 101)]
    texts += [" ".join(source.sample(SENTENCES, k=source.randint(2, 4))) for _ in range(200 - len(texts))]
    assert len(texts) == 200
    return texts
