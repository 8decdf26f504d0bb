"""Encodings as people have them, through `ingest`: found, said, or named."""

import re

import pytest
from kinds import titles

from msr_local.catalogue.decoding import open_text
from msr_local.catalogue.ingest import Words
from msr_local.errors import InputError

WORDS = {
    "gbk": ["红楼梦", "西游记", "水浒传", "三国演义", "儒林外史", "聊斋志异"],
    "cp932": ["吾輩は猫である", "坊っちゃん", "雪国", "ノルウェイの森", "こころ", "羅生門"],
    "big5": ["紅樓夢", "西遊記", "水滸傳", "三國演義", "聊齋誌異", "臺北人"],
    "cp949": ["채식주의자", "엄마를 부탁해", "소년이 온다", "토지", "태백산맥", "광장"],
    "koi8-r": ["Война и мир", "Идиот", "Мастер и Маргарита", "Анна Каренина", "Мёртвые души", "Вишнёвый сад"],
    "cp1251": ["Война и мир", "Идиот", "Мастер и Маргарита", "Анна Каренина", "Мёртвые души", "Вишнёвый сад"],
    "cp1253": ["Ζορμπάς", "Οδύσσεια", "Ιλιάδα", "Ο τελευταίος πειρασμός", "Αντιγόνη", "Μήδεια"],
    "cp1252": ["Les Misérables", "L'Étranger", "Crème brûlée", "Café – bar", "Français", "Nîmes"],
    "cp1250": ["Krzyżacy", "Ogniem i mieczem", "Zażółć gęślą jaźń", "Książę", "Łódź", "Żółw"],
    "utf-16-le": ["Über", "Öl", "Äpfel", "a", "b", "c"],
}


@pytest.mark.parametrize("encoding", WORDS)
def test_the_encoding_is_found_and_said(put, rows, encoding):
    lines = "item_id,title,kind\n" + "".join(f"{n},{title},{title}\n" for n, title in enumerate(WORDS[encoding]))
    said = put(lines.encode(encoding))
    assert titles(rows) == WORDS[encoding]
    assert "items.csv: " in said and "read as" in said


def test_the_encoding_may_be_named(put, rows):
    put("item_id,title\n1,\u0416\n".encode("koi8-r"), of_items=Words(encoding="koi8-r"))
    assert titles(rows) == ["\u0416"]
    with pytest.raises(InputError, match="no encoding 'klingon'"):
        put("item_id,title\n1,x\n", of_items=Words(encoding="klingon"))


def test_strays_in_utf8_are_said(put, rows):
    said = put("item_id,title\n1,Amélie\n2,Crème\n".encode() + b"3,caf\xe9\n")
    assert titles(rows) == ["Amélie", "Crème", "café"] and "1 bytes are not UTF-8" in said


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1250", ["Żółta łódź", "Krzesło", "Święta noc", "Ćma", "Stół dębowy"]),
        ("cp1252", ["Lampe ü", "Stuhl ü", "Tisch ü", "Bett ü", "Regal ü"]),
    ],
)
def test_signs_that_stand_in_no_word_count_against_an_encoding(put, rows, encoding, words):
    said = put(("item_id,title\n" + "".join(f"{n},{words[n % 5]} {n}\n" for n in range(30))).encode(encoding))
    assert titles(rows)[:5] == [f"{word} {n}" for n, word in enumerate(words)]
    assert f", as in '{next(one for one in words[0].split() if not one.isascii())}'" in said


@pytest.mark.parametrize(
    ("encodings", "words"),
    [
        ("cp1252", "São Paulo|Ação e reação|Coração|Não há amanhã|Pão de açúcar|Informações|Avó e avô|Lição"),
        ("cp1252", "Café… naïve déjà vu|Garçon à la fenêtre|Être et avoir|Hôtel du Nord"),
        ("mac_roman", "El Niño|Corazón de león|Mañana será otro día|¿Qué hora es?|Señora Pérez|Más allá"),
        ("cp1250 iso8859_2", "Ostře sledované vlaky|Příběh|Můj život|Dívka na koštěti|Žert|Hoří, má panenko"),
        ("cp1250 iso8859_2", "Űrhajó|Macskajáték|Őszi szél|Hét könnycsepp|Tűzoltó utca|Megáll az idő"),
        ("cp1250 iso8859_2", "Żółta łódź|Krzyżacy|Człowiek z żelaza|Wesele śląskie|Chłopi jesień"),
        ("cp1254", "Kış Uykusu|Çalıkuşu|Üç Maymun|Yeşilçam|Ağır Roman|Düğün Dernek|Babam ve Oğlum"),
        ("cp1257", "Šaltas ruduo|Žiema|Mėnulis ir ąžuolas|Gražuolė|Velnio nuotaka|Ačiū|Jausmai ėjo"),
    ],
)
def test_latin_letters_are_those_of_one_language(tmp_path, encodings, words):
    for encoding in encodings.split():
        (tmp_path / "a").write_bytes("".join(f"{word}\r\n" for word in words.split("|") * 4).encode(encoding))
        with open_text(tmp_path / "a") as text:
            assert "".join(text).split("\r\n")[:-1] == words.split("|") * 4


def test_a_word_that_is_repeated_makes_a_guess_no_surer(put):
    def sure(words):
        goods = "item_id,title\n" + "".join(f"{n},{word} {n}\n" for n, word in enumerate(words))
        said = put(goods.encode("cp1256"))
        return int(re.search(r"\((\d+)% sure\)", said)[1])

    many = [
        f"{one}{other}"
        for one in ("مصباح", "مكتبة", "سيارة", "مدرسة")
        for other in ("حمراء", "قديمة", "كبيرة", "جديدة")
    ]
    assert sure(many) > 90 > 70 > sure(["مصباح"] * 100)
