"""Everyday sentences in other languages than English, for the demo corpus.

In:   a language, a random generator.   Out: sentences as people write them.
Not here: English, and voices (prompts.py); audio (synthesis.py).

A sentence is a choice from each line of a pattern. The choices of a pattern agree with each other
in gender, case and tense, so that every sentence is correct.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TypeVar

from pipeline.corpus.text.language import capitalise

T = TypeVar("T")


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
मेरा भाई | राम | लड़का | डॉक्टर | अध्यापक | मोहन
स्कूल | बाज़ार | घर | अस्पताल | दिल्ली | मंदिर | गाँव
जा रहा है | से आ रहा है

मेरी बहन | सीता | लड़की | मेरी माँ | राधा
स्कूल | बाज़ार | घर | अस्पताल | दिल्ली | मंदिर | गाँव
जा रही है | से आ रही है

मेरा भाई | राम | लड़का | डॉक्टर | अध्यापक | मोहन
किताब पढ़ | चाय पी | खाना खा | पानी ला | चिट्ठी लिख | गाना सुन
रहा है | रहा था

मेरी बहन | सीता | लड़की | मेरी माँ | राधा
किताब पढ़ | चाय पी | खाना खा | पानी ला | चिट्ठी लिख | गाना सुन
रही है | रही थी

आज | यहाँ | दिल्ली में | गाँव में
मौसम
बहुत | थोड़ा | काफ़ी
अच्छा | ठंडा | गरम
है

अभी
दो | तीन | चार | पाँच | छह | सात | आठ | नौ | दस | ग्यारह | बारह
बजे हैं

कृपया
दरवाज़ा बंद कीजिए | खिड़की खोलिए | धीरे बोलिए | थोड़ा रुकिए | यहाँ बैठिए | फिर से कहिए |
पानी दीजिए

मुझे | हमें
दो | तीन | चार | पाँच | छह | सात | आठ | नौ | दस
सेब | अंडे | केले | टिकट | रोटियाँ
चाहिए

हम | वे लोग
सोमवार | मंगलवार | बुधवार | गुरुवार | शुक्रवार | शनिवार | रविवार
को
मिलेंगे | आएँगे | जाएँगे
"""

_CHINESE = """
我 | 他 | 我妈妈 | 爸爸 | 老师 | 医生 | 朋友
今天 | 明天 | 上午 | 下午 | 晚上 | 星期三 | 星期六
去 | 不去
学校 | 商店 | 医院 | 公园 | 北京 | 上海 | 车站

我 | 他 | 我妈妈 | 爸爸 | 老师 | 医生 | 朋友
现在 | 今天 | 晚上 | 下午
在
看书 | 喝茶 | 吃饭 | 写信 | 听音乐 | 打电话 | 学习

今天 | 明天 | 北京 | 上海 | 这里
天气
很 | 不太 | 非常
好 | 冷 | 热

现在 | 明天 | 下午
一 | 两 | 三 | 四 | 五 | 六 | 七 | 八 | 九 | 十
点 | 点半
见 | 吃饭 | 上课

请
开门 | 关窗 | 等一下 | 慢一点说 | 再说一次 | 坐这里 | 给我水

我要 | 他买 | 老师有
一 | 两 | 三 | 四 | 五 | 六 | 七 | 八 | 九 | 十
个苹果 | 本书 | 杯茶 | 张票 | 个鸡蛋 | 瓶水
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
