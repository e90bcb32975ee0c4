import re
from importlib.resources import files

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from r4t_utils.data.language import fashion
from r4t_utils.data.text import GENERIC, clean, stem, topic_words

SINGULAR_IN_S = set(
    "business campus canvas dress fitness glamorous hopeless iris luxurious mysterious rebellious sleeveless thesaurus "
    "yes".split()
)


def texts(value):
    """Every text in a YAML value, keys included."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return [text for part in value for text in texts(part)] if isinstance(value, list) else [str(value)]


def words(name):
    content = yaml.safe_load((files("r4t_utils.data") / name).read_text())
    return {word for text in texts(content) for word in re.findall("[a-z]+", text.lower())}


WORLD, LANGUAGE = words("sample_world.yaml"), words("generic_language.yaml")
EVERY = sorted(word for word in WORLD | LANGUAGE if len(word) > 2)  # "a", "to", "my": they have no plural
PLURAL = [word for word in EVERY if word.endswith("s") and word not in SINGULAR_IN_S]
SINGULAR = [word for word in EVERY if word not in PLURAL]


def plural(word):
    """The regular plural of English."""
    if re.search("(s|x|z|ch|sh)$", word):
        return word + "es"
    return word[:-1] + "ies" if re.search("[^aeiou]y$", word) else word + "s"


def test_there_are_words_to_test():
    assert len(SINGULAR) > 500 and {"dress", "party", "beanie", "blouse", "bohemian", "jumpsuit"} <= set(SINGULAR)
    assert {"jeans", "trousers", "leggings", "booties"} <= set(PLURAL)


def test_a_word_and_its_plural_have_one_stem():
    assert [word for word in SINGULAR if stem(plural(word)) != stem(word)] == []
    assert [word for word in PLURAL if stem(word[:-1]) != stem(word)] == []


@pytest.mark.parametrize("vocabulary", [WORLD, LANGUAGE, WORLD | LANGUAGE])
def test_words_are_merged_with_their_plurals_alone(vocabulary):
    both = {word for word in vocabulary if plural(word) in vocabulary}
    assert len({stem(word) for word in vocabulary}) == len(vocabulary) - len(both)


@pytest.mark.parametrize(
    "one, other",
    [
        ("dress", "dressy"),
        ("cape", "cap"),
        ("robe", "rob"),
        ("cute", "cut"),
        ("tease", "tea"),
        ("dense", "den"),
        ("skies", "ski"),
        ("tie", "ties to"),
        ("glass", "glasses on"),
        ("party", "part"),
        ("shoe", "show"),
        ("blouse", "blue"),
    ],
)
def test_other_words_are_not_merged(one, other):
    assert stem(one) != stem(other)


@pytest.mark.parametrize(
    "one, many",
    [("scarf", "scarves"), ("campus", "campuses"), ("tutu", "tutus"), ("tie", "ties"), ("box", "boxes")]
    + [("sky", "skies"), ("watch", "watches"), ("rose", "roses"), ("hippie", "hippies"), ("glass", "glasses")],
)
def test_plurals_beyond_the_two_files(one, many):
    assert stem(one) == stem(many)


def test_every_function_reads_a_term_in_the_plural_as_in_the_singular():
    for term, (kind, name) in fashion().vocabulary.items():
        *first, last = name.split()
        many = " ".join([*first, last if last in PLURAL else plural(last)])
        assert term == stem(name) and term in fashion().terms(name) and kind in fashion().kinds(name)
        for text in (many, many.upper(), f"{many}!"):
            assert (
                fashion().terms(text) == fashion().terms(name)
                and fashion().kinds(text) == fashion().kinds(name)
                and topic_words(text) == topic_words(name)
            )


def test_plurals_change_no_topic():
    assert topic_words("boho dress") == topic_words("Boho DRESSES") == {"boho", "dress"}
    assert topic_words("cosy winter vibe") == topic_words("cosy winter vibes") == {"cosy", "winter"}
    assert {stem(word) for word in GENERIC} <= GENERIC


@given(st.text())
def test_a_text_and_its_cleaned_form_have_one_stem(text):
    assert clean(clean(text)) == clean(text)
    assert stem(clean(text)) == stem(text) and topic_words(clean(text)) == topic_words(text)


@pytest.mark.parametrize(
    "title, cleaned", [("Boho &lt;3 É\tté!", "boho 3 e te"), ("Don't @someone_x stop", "dont stop"), ("★★", "")]
)
def test_clean(title, cleaned):
    assert clean(title) == cleaned


@pytest.mark.parametrize(
    "query, words",
    [
        ("Boho BEACH looks", {"boho", "beach"}),
        ("festival outfits for the weekends", {"festival", "weekend"}),
        ("what to wear to my party", {"party"}),
        ("a look", set()),
        ("90s t-shirt, red!", {"90s", "t", "shirt", "red"}),  # "90s": too short to be a plural
        ("gas bus", {"gas", "bus"}),
        ("cafés", {"cafe"}),
        ("", set()),
    ],
)
def test_topic_words(query, words):
    assert topic_words(query) == words
