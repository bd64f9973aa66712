"""Everyday sentences in other languages than English, for the demo corpus.

In:   a language, a random generator.   Out: sentences as people write them.
Not here: English, and voices (prompts.py); audio (synthesis.py).

A sentence is a choice from each line of a pattern. The choices of a pattern agree with each other
in gender, case and tense, so that every sentence is correct. In languages without patterns here a
sentence is some numbers in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from pipeline.corpus.text.digits import require_known_numbers, spell_digits
from pipeline.corpus.text.language import capitalise
from pipeline.files import InputError

T = TypeVar("T")

MAX_NUMBERS = 3  # of a sentence
LOWEST_NUMBERS = (1, 10, 100, 1000)  # of one to four digits
UNREADABLE = ("ja",)  # num2words writes kanji, which espeak-ng cannot read


@dataclass(frozen=True)
class Grammar:
    """The sentence patterns of a language."""

    language: str
    voice: str  # of espeak-ng
    patterns: str  # separated by empty lines; a line has choices, separated by |
    space: str = " "  # between words
    end: str = "."

    @cached_property
    def choices(self) -> tuple[tuple[tuple[str, ...], ...], ...]:
        """The choices of each line of each pattern."""
        return tuple(
            tuple(
                tuple(choice.strip() for choice in line.split("|"))
                for line in pattern.replace("|\n", "|").strip().splitlines()
            )
            for pattern in self.patterns.strip().split("\n\n")
        )

    def make_sentence(self, rng: Random) -> str:
        words = self.space.join(pick(rng, choices) for choices in pick(rng, self.choices))
        return capitalise(words, self.language) + self.end


def pick(rng: Random, choices: Sequence[T]) -> T:
    return choices[int(rng.random() * len(choices))]


_TURKISH = """
annem | babam | kardeşim | öğretmen | komşumuz | Ayşe | Mehmet | Zeynep | İbrahim | Işıl
okula | eve | işe | pazara | hastaneye | istasyona | bahçeye | köye | şehre | kütüphaneye
gidiyor | yürüyor | koşuyor

dün | dün akşam | bu sabah | geçen hafta | az önce
annem | babam | kardeşim | öğretmen | Ayşe | Mehmet | Zeynep | İbrahim | Işıl
kitabı okudu | çayı içti | kapıyı açtı | pencereyi kapattı | ekmeği aldı | mektubu yazdı |
ödevi bitirdi | çiçekleri suladı | yemeği pişirdi

bugün | yarın | İstanbul'da | Ankara'da | İzmir'de | Diyarbakır'da
hava
çok | biraz | oldukça
güzel | sıcak | soğuk | yağmurlu | güneşli | bulutlu

saat
birde | ikide | üçte | dörtte | beşte | altıda | yedide | sekizde | dokuzda | onda
okulda | evde | istasyonda | sinemada | parkta | çarşıda
buluşalım | görüşürüz

lütfen
ışığı aç | kapıyı kapat | biraz bekle | yavaş konuş | tekrar et | buraya gel | suyu getir

bana
bir | iki | üç | dört | beş | altı | yedi | sekiz | dokuz | on
elma | ekmek | yumurta | bardak çay | şişe su | bilet | çiçek
ver | lazım
"""

_GERMAN = """
meine Mutter | mein Vater | der Lehrer | die Ärztin | unser Nachbar | Jürgen | Frau Groß |
das Mädchen
geht heute in die Schule | fährt morgen nach Köln | kommt spät nach Hause |
wohnt in dieser Straße | arbeitet im Büro

meine Mutter | mein Vater | der Lehrer | die Ärztin | unser Nachbar | Jürgen | Frau Groß |
das Mädchen
liest ein Buch | trinkt heißen Tee | öffnet das Fenster | schließt die Tür |
kauft frische Brötchen | schreibt einen Brief | hört gern Musik | isst süße Äpfel

heute ist das Wetter | gestern war das Wetter | in München ist das Wetter | hier ist das Wetter
schön | schlecht | heiß | kühl | trüb | windig

es ist | wir essen um | ich komme um
zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | elf | zwölf
Uhr

bitte
machen Sie das Licht an | sprechen Sie langsam | warten Sie einen Moment |
schließen Sie die Tür | kommen Sie herein | geben Sie mir den Schlüssel

ich möchte | wir brauchen | er kauft
zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | elf | zwölf
Brötchen | Äpfel | Flaschen Wasser | Tassen Kaffee | Stück Kuchen | Eier | Karten

der Zug nach
München | Köln | Düsseldorf | Gießen | Lübeck | Berlin
fährt um
zwei | drei | vier | fünf | sechs | sieben | acht | neun | zehn | elf | zwölf
Uhr
"""

_HINDI = """
मेरा भाई | राम | लड़का | डॉक्टर | अध्यापक | मोहन | मेरा दोस्त | किसान
स्कूल | बाज़ार | घर | दिल्ली | गाँव | अस्पताल | स्टेशन | मुंबई
जा रहा है | से आ रहा है

मेरी बहन | सीता | लड़की | मेरी माँ | अध्यापिका | राधा | दादी
स्कूल | बाज़ार | घर | दिल्ली | गाँव | अस्पताल | स्टेशन | मुंबई
जा रही है | से आ रही है

मेरा भाई | राम | लड़का | डॉक्टर | अध्यापक | मोहन | मेरा दोस्त | किसान
किताब पढ़ रहा है | चाय पी रहा है | पानी ला रहा है | खाना खा रहा है | खत लिख रहा है |
गाना गा रहा है | फल खरीद रहा है | दरवाज़ा खोल रहा है

मेरी बहन | सीता | लड़की | मेरी माँ | अध्यापिका | राधा | दादी
किताब पढ़ रही है | चाय पी रही है | पानी ला रही है | खाना खा रही है | खत लिख रही है |
गाना गा रही है | फल खरीद रही है | दरवाज़ा खोल रही है

कल | आज सुबह | कल शाम को
राम ने | सीता ने | मोहन ने | राधा ने | मेरे भाई ने | मेरी बहन ने | डॉक्टर ने | किसान ने
किताब पढ़ी | चाय पी | खाना खाया | पानी पिया | खत लिखा | गाना गाया

आज | यहाँ | दिल्ली में | गाँव में | मुंबई में
मौसम
बहुत अच्छा | ठंडा | गरम | साफ़
है

हम | वे
दो | तीन | चार | पाँच | छह | सात | आठ | नौ | दस
बजे
स्टेशन पर | स्कूल में | बाज़ार में | घर पर
मिलेंगे

मुझे
दो | तीन | चार | पाँच | छह | सात | आठ | नौ | दस
सेब | केले | टिकट | फूल | अंडे
चाहिए

कृपया
किताब दीजिए | पानी दीजिए | यहाँ आइए | घर जाइए | दरवाज़ा खोलिए | फिर से कहिए | धीरे बोलिए
"""

_CHINESE = """
我 | 他 | 妈妈 | 老师 | 朋友
今天 | 明天 | 晚上
去 | 不去
学校 | 商店 | 北京 | 上海

我 | 他 | 妈妈 | 老师 | 朋友
在
看书 | 喝茶 | 吃饭 | 学习

今天 | 明天 | 北京 | 上海
天气
很 | 不
好 | 冷 | 热

现在 | 明天 | 晚上
一 | 两 | 三 | 五 | 六 | 八 | 十
点
见 | 吃饭 | 学习

请
开门 | 等一下 | 再说一次

我要 | 他要 | 老师有
一 | 两 | 三 | 五 | 六 | 八 | 十
个苹果 | 本书 | 杯茶
"""

GRAMMARS = {
    grammar.language: grammar
    for grammar in (
        Grammar("tr", "tr", _TURKISH),
        Grammar("de", "de", _GERMAN),
        Grammar("hi", "hi", _HINDI, end="।"),
        Grammar("zh", "cmn", _CHINESE, space="", end="。"),
    )
}


@dataclass(frozen=True)
class Numbers:
    """Sentences of some numbers in words."""

    language: str

    @property
    def voice(self) -> str:
        return self.language

    def make_sentence(self, rng: Random) -> str:
        count = 1 + int(rng.random() * MAX_NUMBERS)
        digits = " ".join(str(_random_number(rng)) for _ in range(count))
        return " ".join(spell_digits(digits, self.language).split())


def _random_number(rng: Random) -> int:
    low = pick(rng, LOWEST_NUMBERS)
    return low + int(rng.random() * 9 * low)


def find_grammar(language: str) -> Grammar | Numbers | None:
    """Return the sentences of a language without its region, or None if there are none."""
    if language in GRAMMARS:
        return GRAMMARS[language]
    try:
        require_known_numbers(language)
    except InputError:
        return None
    return None if language in UNREADABLE else Numbers(language)
