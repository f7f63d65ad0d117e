"""A rule file that is not a sound table is refused with file, line, cause and what to do."""

from hashlib import sha256

import pytest

from gateway.decision.facts import Kind, Outcome
from gateway.decision.load import RuleError, find_rules, load_rules

SOUND = '''\
# A comment with [[rules]] and when.nonsense in it.
name = "small"
version = "1"
about = """
[[rules]]
id = "in a string"
"""

[usual]
known = true

[[rules]]
id = "A1"
title = { fi = "a", sv = "b", en = "c" }
reason.fi = "a"
reason.sv = "b"
reason.en = "c"
source = "s"
then = "hold"
when.kind = "unclear"
examples = [
  { about = "kind is unclear", kind = "unclear" },
  { kind = "unclear", ban_all = true },
]

[[rules]]
id = "A2"
title.fi = "a"
title.sv = "b"
title.en = "c"
reason.fi = "a"
reason.sv = "b"
reason.en = "c"
source = "s"
basis = "b"
then = "forward"
uncertain = true
when.kind = ["notice", "transactional"]
examples = [{ kind = "notice" }]

[[rules]]
id = "A3"
title = { fi = "a", sv = "b", en = "c" }
reason = { fi = "a", sv = "b", en = "c" }
source = "s"
then = "hold"
any = [
  { age = ["minor", "under_15"] },
  { known = false, kind = "service" },
]
examples = [{ age = "minor", kind = "marketing" }]

[[rules]]
id = "A9"
title = { fi = "a", sv = "b", en = "c" }
reason = { fi = "a", sv = "b", en = "c" }
source = "s"
then = "hold"

[[rules.examples]]
kind = "service"

[[rules.examples]]
kind = "marketing"

[[rules]]
id = "Q1"
title = { fi = "a", sv = "b", en = "c" }
reason = { fi = "a", sv = "b", en = "c" }
source = "s"
then = "defer"
after = "forward"
when = { channel = "sms", quiet_hours = true }
examples = [{ kind = "notice", channel = "sms", quiet_hours = true }]
'''


def line_of(text: str, needle: str, count: int = 1) -> int:
    """The line of the count-th occurrence."""
    at = -1
    for _ in range(count):
        at = text.index(needle, at + 1)
    return text.count("\n", 0, at) + 1


def refused(tmp_path, text: str) -> str:
    path = tmp_path / "small.toml"
    path.write_text(text)
    with pytest.raises(RuleError) as caught:
        load_rules(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:")
    assert "; " in message
    return message.removeprefix(f"{path}:")


def test_a_sound_file_is_read(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SOUND)
    rules = load_rules(path)
    assert (rules.name, rules.version) == ("small", "1")
    assert rules.hash == sha256(SOUND.encode()).hexdigest()
    assert [rule.id for rule in rules.rules] == ["A1", "A2", "A3", "A9", "Q1"]
    first, second, third, _, quiet = rules.rules
    assert first.title.sv == "b"
    assert first.examples[0].about == "kind is unclear"
    assert first.examples[0].facts.known is True
    assert second.when == {"kind": frozenset({Kind.NOTICE, Kind.TRANSACTIONAL})}
    assert second.uncertain
    assert not first.uncertain
    assert len(third.any_of) == 2
    assert quiet.after is Outcome.FORWARD
    with pytest.raises(KeyError):
        rules.rule("A4")


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "small.toml"
    path.write_bytes(b"\xef\xbb\xbf" + SOUND.replace("\n", "\r\n").encode())
    assert len(load_rules(path).rules) == 5


# what is replaced (which occurrence), by what, where the error points, its words
BAD = {
    "not TOML": ('source = "s"', 1, "source = s", "source = s", 1, ["not TOML", "correct"]),
    "unclosed": ('source = "s"', 1, 'source = "s', 'source = "s', 1, ["not TOML"]),
    "unknown fact": (
        'when.kind = "unclear"',
        1,
        'when.knid = "unclear"',
        "when.knid",
        1,
        ["unknown fact 'knid'", "did you mean kind?"],
    ),
    "unknown fact without a near one": (
        'when.kind = "unclear"',
        1,
        "when.zzz = true",
        "when.zzz",
        1,
        ["unknown fact 'zzz'", "write one of: kind, channel"],
    ),
    "unknown fact in an alternative": (
        "{ known = false, kind",
        1,
        "{ knwon = false, kind",
        "knwon",
        1,
        ["unknown fact 'knwon'", "did you mean known?"],
    ),
    "unknown fact in an inline when": (
        "quiet_hours = true }",
        1,
        "quiet_time = true }",
        "quiet_time",
        1,
        ["'quiet_time'"],
    ),
    "unknown fact in an example": (
        'unclear", ban_all',
        1,
        'unclear", ban_al',
        "ban_al =",
        1,
        ["'ban_al'", "ban_all?"],
    ),
    "unknown fact in usual": ("known = true", 1, "nkown = true", "nkown", 1, ["'nkown'", "known"]),
    "unknown value": (
        '"notice", "transactional"]',
        1,
        '"notice", "advert"]',
        "advert",
        1,
        ["unknown value 'advert' of kind", '"marketing" or "service"'],
    ),
    "a text for a yes or no": (
        "{ known = false, kind",
        1,
        '{ known = "false", kind',
        '"false"',
        1,
        ["unknown value 'false' of known", "write false or true"],
    ),
    "a number for a yes or no": (
        "{ known = false, kind",
        1,
        "{ known = 0, kind",
        "known = 0",
        1,
        ["unknown value 0 of known"],
    ),
    "no value": ('["minor", "under_15"]', 1, "[]", "age = []", 1, ["age may have no value"]),
    "unknown outcome": ('then = "hold"', 1, 'then = "drop"', '"drop"', 1, ["'drop'", '"suppress"']),
    "no outcome": ('then = "hold"\n', 1, "", "[[rules]]", 3, ["then is missing"]),
    "unknown after": ('after = "forward"', 1, 'after = "all"', "after", 1, ["'all' of after"]),
    "missing language": (
        'reason.sv = "b"\n',
        1,
        "",
        "reason.fi",
        1,
        ["reason is missing in the language 'sv'"],
    ),
    "empty language": ('title.en = "c"', 1, 'title.en = " "', "title.fi", 1, ["title", "'en'"]),
    "unknown language": (
        'title.en = "c"',
        1,
        'title.en = "c"\ntitle.de = "d"',
        "title.fi",
        1,
        ["'de'"],
    ),
    "one language only": (
        'title = { fi = "a", sv = "b", en = "c" }',
        1,
        'title = "a"',
        'title = "a"',
        1,
        ["title is not in three languages"],
    ),
    "duplicate id": (
        'id = "A3"',
        1,
        'id = "A1"',
        'id = "A1"',
        2,
        ["A1 is used twice, first in line 13"],
    ),
    "bad id": ('id = "A3"', 1, 'id = "rule three"', "rule three", 1, ["'rule three' cannot be"]),
    "no id": ('id = "A3"\n', 1, "", "[[rules]]", 5, ["id is missing"]),
    "no source": ('source = "s"\n', 1, "", "[[rules]]", 3, ["source is missing"]),
    "no basis": ('basis = "b"\n', 1, "", "[[rules]]", 4, ["A2 forwards and names no legal basis"]),
    "unknown key": (
        "uncertain = true",
        1,
        "uncertian = true",
        "uncertian",
        1,
        ["did you mean uncertain?"],
    ),
    "uncertain is a text": (
        "uncertain = true",
        1,
        'uncertain = "yes"',
        "uncertain",
        1,
        ["yes or no"],
    ),
    "unknown key of the set": (
        'version = "1"',
        1,
        'verison = "1"',
        "verison",
        1,
        ["did you mean version?"],
    ),
    "no name": ('name = "small"\n', 1, "", "#", 1, ["name is missing"]),
    "any is not a list": (
        'when = { channel = "sms", quiet_hours = true }',
        1,
        "any = { urgent = true }",
        "any = { urgent",
        1,
        ["any is not a list"],
    ),
    "an empty alternative": (
        '{ age = ["minor", "under_15"] }',
        1,
        "{ }",
        "any = [",
        1,
        ["asks for nothing"],
    ),
    "when is not a table": (
        'when.kind = "unclear"',
        1,
        'when = "unclear"',
        'when = "unclear"',
        1,
        ["not a table of facts"],
    ),
    "no examples": (
        'examples = [{ kind = "notice" }]\n',
        1,
        "",
        "[[rules]]",
        4,
        ["A2 has no worked example"],
    ),
    "an example that is no table": (
        'examples = [{ kind = "notice" }]',
        1,
        'examples = ["notice"]',
        'examples = ["notice"]',
        1,
        ["an example is not a table"],
    ),
    "about is no text": (
        'about = "kind is unclear"',
        1,
        "about = 1",
        "about = 1",
        1,
        ["about is not a text"],
    ),
    "an example that another rule decides": (
        '{ kind = "unclear", ban_all = true }',
        1,
        '{ kind = "service", ban_all = true }',
        '{ kind = "service", ban_all',
        1,
        ['of A1 fires A9, as it has kind = "service"'],
    ),
    "an example under its own header that another rule decides": (
        'kind = "marketing"\n',
        1,
        'kind = "unclear"\n',
        "[[rules.examples]]",
        2,
        ["of A9 fires A1"],
    ),
    "an unreachable rule": (
        '  { age = ["minor", "under_15"] },\n  { known = false, kind = "service" },',
        1,
        '  { kind = "notice", ban_all = true },',
        "[[rules]]",
        5,
        ["A3 is never reached, after A2, which decides all"],
    ),
    "a rule after an outcome that none has": (
        'after = "forward"',
        1,
        'after = "suppress"',
        "[[rules]]",
        7,
        ["Q1 is never reached"],
    ),
    "a table that is not total": (
        'then = "hold"\n\n[[rules.examples]]',
        1,
        'then = "hold"\nwhen.known = true\n\n[[rules.examples]]',
        "[[rules]]",
        7,
        ["not total: no rule holds for", "known = false", "end it with a rule"],
    ),
    "marketing forwarded against a ban": (
        '["notice", "transactional"]',
        1,
        '["notice", "marketing"]',
        "[[rules]]",
        4,
        [
            "A2 would forward",
            'kind = "marketing" and tombstone = true',
            "never forwarded against a ban",
        ],
    ),
    "a notice suppressed": (
        'then = "hold"\nany',
        1,
        'then = "suppress"\nany',
        "[[rules]]",
        5,
        ["A3 would suppress", 'kind = "service"', "only marketing is ever suppressed"],
    ),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_where_it_is_bad(tmp_path, case):
    old, occurrence, new, needle, count, words = case
    at = -1
    for _ in range(occurrence):
        at = SOUND.index(old, at + 1)
    if old == "known = true":
        at = SOUND.index(old, SOUND.index("[usual]"))
    text = SOUND[:at] + new + SOUND[at + len(old) :]
    message = refused(tmp_path, text)
    line, _, rest = message.partition(": ")
    for word in words:
        assert word in rest
    assert line == str(line_of(text, needle, count)), message


def test_a_rule_whose_facts_exclude_each_other_is_never_reached(tmp_path):
    text = SOUND.replace(
        '  { age = ["minor", "under_15"] },\n  { known = false, kind = "service" },',
        '  { age = "minor" },',
    ).replace('then = "hold"\nany', 'then = "hold"\nwhen.age = "adult"\nany')
    message = refused(tmp_path, text)
    assert "A3 is never reached, for the other rules decide all that it would" in message


def test_an_unclear_kind_is_never_forwarded(tmp_path):
    text = SOUND.replace('then = "hold"\nwhen.kind', 'then = "forward"\nbasis = "b"\nwhen.kind')
    assert "waits for a person" in refused(tmp_path, text)


def test_a_file_without_rules_is_refused(tmp_path):
    assert "no rules" in refused(tmp_path, 'name = "x"\nversion = "1"\n')
    assert "no rules" in refused(tmp_path, 'name = "x"\nversion = "1"\nrules = 5\n')
    assert "not a table" in refused(tmp_path, 'name = "x"\nversion = "1"\nrules = [5]\n')
    assert "usual is not" in refused(
        tmp_path, 'name = "x"\nversion = "1"\nusual = 5\nrules = [5]\n'
    )


def test_a_file_that_is_not_utf_8_is_refused_at_its_line(tmp_path):
    path = tmp_path / "small.toml"
    path.write_bytes(b'name = "x"\nabout = "p\xe4\xe4"\n')
    with pytest.raises(RuleError, match=r"small\.toml:2: not UTF-8; save"):
        load_rules(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RuleError, match=r"none\.toml: the rule set cannot be read"):
        load_rules(tmp_path / "none.toml")


def test_find_rules(tmp_path):
    assert find_rules("finland").name == "finland.toml"
    (tmp_path / "small.toml").write_text(SOUND)
    assert find_rules("small", tmp_path) == tmp_path / "small.toml"
    with pytest.raises(RuleError, match=r"'narnia'.*finland, opt-out"):
        find_rules("narnia")
    with pytest.raises(RuleError, match="write one of: small"):
        find_rules("finland", tmp_path)
    with pytest.raises(RuleError):
        find_rules("../rules/finland")
