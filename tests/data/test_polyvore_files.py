import gzip
import json
from itertools import count

import pytest

from r4t_utils.data import polyvore
from r4t_utils.data import sources as datasets
from r4t_utils.data.text import topic_words

NUMBERS = count(1)
ITEMS = ("striped casual shirt", "denim skirt", "leather boots", "canvas tote bag", "gold ring")


def outfit(title="Boho Rocker", names=ITEMS):
    return {
        "set_id": str(next(NUMBERS)),
        "name": title,
        "items": [{"index": i, "name": n, "categoryid": 40 + i} for i, n in enumerate(names)],
    }


def write(folder, outfits, name="train_no_dup.json"):
    data = json.dumps(outfits).encode()
    (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return data


def test_small_outfits_and_nameless_items_are_dropped(tmp_path, capsys):
    names = ITEMS, ITEMS[:3], (*ITEMS[:3], " "), (*ITEMS, "")
    write(tmp_path, [outfit(names=own) for own in names])
    (tmp_path / "category_id.txt").write_text("40 Men's Shirts\n41 Skirts\n")
    corpus = polyvore.load(tmp_path, 20, 20)
    assert corpus.collections["items"].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert corpus.items.title.tolist() == [*ITEMS, *ITEMS]
    assert corpus.items.category.tolist()[:3] == ["Men's Shirts", "Skirts", "category 42"]
    assert corpus.collections.attrs["dropped"] == 2
    assert corpus.oar["query"].tolist() == ["boho rocker"]
    assert corpus.wscr["query"].tolist()[0] == "boho rocker"  # the second outfit is described by its items
    assert corpus.wscr["query"].tolist()[1].endswith("casual outfit with mens shirts and skirts")
    printed = capsys.readouterr().out
    assert printed.startswith("unverified subset: train_no_dup.json in ") and printed.count("\n") == 1


def test_terms_that_meet_in_five_outfits_are_recombined(tmp_path):
    write(
        tmp_path,
        [
            outfit("Untitled #1", ("vintage jacket", "a", "b", "c")),
            *[outfit("no words", ("festival thing", "fringed thing", "x", "y")) for _ in range(5)],
        ],
    )
    corpus = polyvore.load(tmp_path, 20, 20)
    assert set(corpus.oar.family) == {"recombined"}
    assert {topic_words(q) for q in corpus.oar["query"]} <= {
        frozenset(words) for words in (("festival", "fringed"), ("festival", "fringed", "piece"))
    }
    assert not any("vintage" in query for query in corpus.oar["query"])


def test_official_files_are_known_by_their_blob_ids(tmp_path, monkeypatch, capsys):
    assert polyvore.blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    ids = {}
    for number, name in enumerate(polyvore.OFFICIAL):
        suffix = ".gz" * (number == 1)  # a compressed copy of an official file is official too
        ids[name] = polyvore.blob_id(write(tmp_path, [outfit() for _ in range(number + 1)], name + suffix))
    monkeypatch.setattr(polyvore, "OFFICIAL", ids)
    assert datasets.label("polyvore", tmp_path) == "polyvore" == polyvore.load(tmp_path, 20, 20).name
    assert capsys.readouterr().out == ""
    write(tmp_path, [outfit()], "test_no_dup.json")
    assert datasets.label("polyvore", tmp_path) == "polyvore-subset"
    (tmp_path / "test_no_dup.json").unlink()
    assert datasets.label("polyvore", tmp_path) == "polyvore-subset"


def refused(folder):
    """The one line in which checking a folder refuses it, and loading it too."""
    messages = set()
    for use in (polyvore.label, lambda folder: polyvore.load(folder, 20, 20)):
        with pytest.raises(polyvore.DataError) as error:
            use(folder)
        messages.add(str(error.value))
    (message,) = messages
    assert message.isascii() and "\n" not in message
    return message


@pytest.mark.parametrize(
    "content, rule",
    [
        (b"[{", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[" * 10**5, "not valid JSON"),
        (b"{}", "the whole={} is not a list"),
        (b"[]", "the whole=[] is an empty list"),
        (b"[3]", "outfit 0=3 is not a mapping"),
        (b'[{"items": []}]', "outfit 0.name is missing"),
        (b'[{"name": "a", "items": null}]', "outfit 0.items=None is not a list"),
        (b'[{"name": "a", "items": [{"name": "b"}]}]', "outfit 0.items.0.categoryid is missing"),
        (
            b'[{"name": "a", "items": []}, {"name": "a", "items": [{"name": "b", "categoryid": "7"}]}]',
            "outfit 1.items.0.categoryid='7' is not a whole number",
        ),
        (b'[{"name": "a", "items": [{"name": "b", "categoryid": true}]}]', "categoryid=True is not a whole number"),
        (b'[{"name": "a", "items": [{"name": null, "categoryid": 7}]}]', "outfit 0.items.0.name=None is not text"),
        (b'[{"name": 5, "items": []}]', "outfit 0.name=5 is not text"),
        ('[{"name": ["\u2605"], "items": []}]'.encode(), r"outfit 0.name=['\u2605'] is not text"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_file_outfit_and_value(tmp_path, content, rule):
    (tmp_path / "valid_no_dup.json").write_bytes(content)
    message = refused(tmp_path)
    assert all(words in message for words in ("valid_no_dup.json", rule, "unpack"))


@pytest.mark.parametrize("half", [r"\ud83d", r"\ude00", r"\ude00\ud83d"])
@pytest.mark.parametrize("place", ["name", "items.1.name", "set_id"])
def test_half_a_surrogate_pair_is_an_error(tmp_path, half, place):
    good, bad = outfit(), outfit()
    entry = bad["items"][1] if place.startswith("items") else bad
    entry[place.split(".")[-1]] = "caf\u00e9 HALF"
    text = json.dumps([good, bad], ensure_ascii=False).replace("HALF", half)
    (tmp_path / "train_no_dup.json").write_text(text, encoding="utf-8")
    message = refused(tmp_path)
    assert f"train_no_dup.json: outfit 1.{place}='caf\\xe9 {half}' holds half a surrogate pair" in message
    assert "holds half a surrogate pair" in message
    (tmp_path / "train_no_dup.json").write_text(text.replace(half, r"\ud83d\ude00"), encoding="utf-8")
    assert polyvore.label(tmp_path) == "polyvore-subset"  # both halves are one character


def rows(folder):
    """What a folder holds, and its queries."""
    corpus = polyvore.load(folder, 20, 20)
    tables = (corpus.items, corpus.collections, corpus.oar, corpus.wscr)
    return [table.to_json(orient="records") for table in tables]


def test_a_byte_order_mark_is_not_read(tmp_path):
    outfits, bom = [outfit(), outfit("Vintage Party")], b"\xef\xbb\xbf"
    for name, start in (("plain", b""), ("marked", bom)):
        folder = tmp_path / name
        folder.mkdir()
        data = start + json.dumps(outfits[:1]).encode()
        (folder / "train_no_dup.json").write_bytes(data)
        (folder / "test_no_dup.json.gz").write_bytes(gzip.compress(start + json.dumps(outfits[1:]).encode()))
        (folder / "category_id.txt").write_bytes(start + b"40 Shirts\n")
        assert polyvore.label(folder) == "polyvore-subset"
    assert rows(tmp_path / "marked") == rows(tmp_path / "plain")
    assert '"category":"Shirts"' in rows(tmp_path / "marked")[0]


INVISIBLE = ("\ufeff", "\u200b\u200d", "\xad", "\x00\x07", " \u2060\t", "\u202e", "\u3164", "\u2800 \u2800", "\ufe0f")


@pytest.mark.parametrize("nothing", INVISIBLE)
def test_a_name_of_invisible_characters_is_no_name(tmp_path, nothing):
    write(tmp_path, [outfit(nothing, (*ITEMS, nothing)), outfit("Few", (*ITEMS[:3], nothing, nothing))])
    assert polyvore.label(tmp_path) == "polyvore-subset"
    corpus = polyvore.load(tmp_path, 20, 20)
    assert corpus.items.title.tolist() == [*ITEMS] and corpus.collections.title.tolist() == [""]
    assert corpus.collections.attrs == {"dropped": 1, "repeated": 0}


def test_an_invisible_character_in_a_name_is_left_out(tmp_path):
    write(
        tmp_path, [outfit("\ufeffBoho\ufeff  Ro\xadcker\x00", ("den\u200bim\tskirt", "caf\u00e9 \u2764\ufe0f", *ITEMS))]
    )
    corpus = polyvore.load(tmp_path, 20, 20)
    assert corpus.collections.title.tolist() == ["Boho Rocker"]
    assert corpus.items.title.tolist()[:2] == ["denim skirt", "caf\u00e9 \u2764\ufe0f"]


def test_an_outfit_that_is_repeated_is_kept_once(tmp_path, capsys):
    def entries(*named):
        return [{**outfit(title, names), "set_id": set_id} for title, names, set_id in named]

    few = ITEMS[:3]
    write(tmp_path, entries(("First", ITEMS, "7"), ("Again", ITEMS, "7"), ("Small", few, "8"), ("Small", few, "8")))
    write(tmp_path, entries(("Other", ITEMS, "9"), ("Third", ITEMS, 7), ("Small", ITEMS, "8")), "test_no_dup.json")
    assert polyvore.label(tmp_path) == "polyvore-subset" and capsys.readouterr().out == ""
    corpus = polyvore.load(tmp_path, 20, 20)
    assert corpus.collections.title.tolist() == ["First", "Other"]
    assert corpus.collections.attrs == {"dropped": 1, "repeated": 4}
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[1].startswith("repeated outfits: 4 in ")


def test_an_outfit_without_set_id_is_no_repeat(tmp_path, capsys):
    entries = [outfit() for _ in range(6)]
    for entry, none in zip(entries, (None, None, "", ""), strict=False):
        entry["set_id"] = none
    for entry in entries[4:]:
        del entry["set_id"]
    write(tmp_path, entries)
    assert polyvore.load(tmp_path, 20, 20).collections.attrs == {"dropped": 0, "repeated": 0}
    assert "repeated" not in capsys.readouterr().out


def test_what_is_printed_and_raised_is_ascii(tmp_path, capsys):
    folder = tmp_path / "donn\u00e9es"
    assert r"donn\xe9es is missing" in refused(folder)
    folder.mkdir()
    entry = outfit()
    write(folder, [entry, entry])
    polyvore.load(folder, 20, 20)
    printed = capsys.readouterr().out
    assert printed.isascii() and printed.count("\n") == printed.count(r"donn\xe9es") == 2
    with pytest.raises(ValueError, match=r"dataset='\\u2605' is not known"):
        datasets.label("\u2605", None)


def test_gzip_is_known_by_its_first_bytes(tmp_path):
    data = json.dumps([outfit()]).encode()
    for name, content in (("train_no_dup.json", gzip.compress(data)), ("train_no_dup.json.gz", data)):
        path = tmp_path / name
        path.write_bytes(content)
        assert polyvore.label(tmp_path) == "polyvore-subset" and len(polyvore.load(tmp_path, 20, 20).items) == 5
        path.unlink()


@pytest.mark.parametrize("name", ["train_no_dup.json", "train_no_dup.json.gz"])
def test_a_truncated_file_is_an_error_under_either_name(tmp_path, name):
    data = json.dumps([outfit()]).encode()
    whole = gzip.compress(data)
    for broken in (whole[:-9], whole[: len(whole) // 2], whole[:3], whole[:-8] + bytes(8)):
        (tmp_path / name).write_bytes(broken)
        assert f"{name} cannot be read" in refused(tmp_path)
    for broken in (data[:-9], b"not gzip", whole[:1], b""):
        (tmp_path / name).write_bytes(broken)
        assert f"{name} is not valid JSON" in refused(tmp_path)


def test_an_empty_folder_and_no_folder(tmp_path):
    assert "holds none of train_no_dup.json" in refused(tmp_path)
    assert "missing" in refused(tmp_path / "nowhere")


def test_no_outfit_left(tmp_path):
    write(tmp_path, [outfit(names=ITEMS[:3])])
    with pytest.raises(ValueError, match="1 outfits, none with 4 named items"):
        polyvore.load(tmp_path, 20, 20)


@pytest.mark.parametrize(
    "line",
    [b"Skirts 7", b"7", b"7 ", b"7 \xe2\x80\x8b", b"-7 Skirts", b"7.5 Skirts", b"1_0 Skirts", b"9" * 5000 + b" Skirts"]
    + [b"7Skirts", b"\xff\xfe", b"7 Ski\xffrts", b"40 Skirts", "\u0667 Skirts".encode()],
)
def test_a_wrong_line_of_the_category_table_is_named(tmp_path, line):
    write(tmp_path, [outfit()])
    (tmp_path / "category_id.txt").write_bytes(b"40 Shirts\r\n\r\n41 Two words\n" + line + b"\n42 Boots\n")
    message = refused(tmp_path)
    assert f"category_id.txt: line 4={line!r:.200};" in message and "category id and its one name" in message
    (tmp_path / "category_id.txt").write_bytes(b"40 Shirts\r\n\r\n41  Two\twords \n40 Shirts\n42 Caf\xc3\xa9")
    assert polyvore.label(tmp_path) == "polyvore-subset"
    named = polyvore.load(tmp_path, 20, 20).items.category.tolist()
    assert named[:4] == ["Shirts", "Two words", "Caf\u00e9", "category 43"]


def test_the_category_table_of_official_files_is_checked_too(tmp_path, monkeypatch):
    ids = {name: polyvore.blob_id(write(tmp_path, [outfit()], name)) for name in polyvore.OFFICIAL}
    monkeypatch.setattr(polyvore, "OFFICIAL", ids)
    assert polyvore.label(tmp_path) == "polyvore"
    (tmp_path / "category_id.txt").write_text("Skirts 7")
    assert "line 1=b'Skirts 7'" in refused(tmp_path)
