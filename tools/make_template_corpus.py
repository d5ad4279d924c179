#!/usr/bin/env python3
"""Templates with what Jinja2 makes of them, in the settings of transformers.

Owns the cases: snippets for every construct of the language, snippets that a seeded generator
composes from a grammar, and real templates with generated conversations. Needs jinja2 3.1.6 or
later; gguf only for --gguf.

    make_template_corpus.py --out tests/text/jinja_golden.jsonl            the committed share
    make_template_corpus.py --all --templates DIR --out /tmp/all.jsonl     everything

tools/check_templates.py compares the program with Jinja2 over the same cases, live.
"""
import argparse
import copy
import datetime
import functools
import glob
import json
import os
import random
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

NOW = 1764547200  # 2025-12-01 00:00:00 UTC


# ---- the oracle --------------------------------------------------------------------------

class Generation(jinja2.ext.Extension):
    """{% generation %}: a block that says nothing, as in transformers."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(lineno)

    def _body(self, caller):
        return caller()


class TemplateNamespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attrs = dict(*args, **kwargs)
        for name in attrs:
            TemplateNamespace._check_name(name)
        jinja2.utils.Namespace.__init__(self, attrs)

    def __setitem__(self, name, value):
        TemplateNamespace._check_name(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def _check_name(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError("underscore")


class TemplateDict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)


@functools.lru_cache(maxsize=8)
def environment(now):
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    def strftime_now(format):
        return datetime.datetime.fromtimestamp(now, datetime.timezone.utc).strftime(format)

    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    env.globals["dict"] = TemplateDict()
    env.globals["namespace"] = TemplateNamespace
    return env


@functools.lru_cache(maxsize=256)
def compiled(source, now):
    return environment(now).from_string(source)


def render(case):
    """What Jinja2 gives: the text, or None for an error."""
    try:
        # A copy, because a filter like indent changes a list that it is given by mistake.
        variables = copy.deepcopy(case["vars"])
        text = compiled(case["template"], case["now"]).render(**variables)
        text.encode()
        return text
    except Exception:
        return None


# ---- conversations -----------------------------------------------------------------------

TOOLS = [
    {"type": "function", "function": {
        "name": "read_tag", "description": "Reads a tag's value & quality.\nNever writes <it>.",
        "parameters": {"type": "object", "properties": {
            "path": {"type": "string", "description": "e.g. \"[default]Line 1/Speed\""},
            "limit": {"type": "integer", "default": 10, "enum": [1, 10, 100]},
            "deep": {"type": ["boolean", "null"], "description": "Größe ≥ 3"}},
            "required": ["path"]},
        "return": {"type": "object", "description": "value"}}},
    {"type": "function", "function": {
        "name": "now", "description": "The time.",
        "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {
        "name": "order", "description": "Nested.",
        "parameters": {"type": "object", "required": ["items"], "properties": {
            "items": {"type": "array", "items": {"type": "object", "properties": {
                "id": {"type": "number"}, "tags": {"type": "array", "items": {"type": "string"}}}}},
            "mode": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}}}},
]


def call(name, args, id_="call_1a2b3", wrap=True):
    f = {"name": name, "arguments": args}
    return {"id": id_, "type": "function", "function": f} if wrap else f


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def system(text):
    return {"role": "system", "content": text}


def conversations():
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    image = [{"type": "image", "url": "x.png"}, {"type": "text", "text": "What is it?"}]
    yes = {"add_generation_prompt": True}
    tools = {"tools": TOOLS, "add_generation_prompt": True}
    tool_talk = [user("Speed?"),
                 assistant("", tool_calls=[call("read_tag", {"path": "Line 1", "limit": 1})]),
                 {"role": "tool", "name": "read_tag", "content": "42.5", "tool_call_id": "call_1a2b3"},
                 assistant("It is 42.5."), user("And now?")]
    two_calls = [system("Be short."), user("Both?"),
                 assistant(None, tool_calls=[call("now", {}), call("read_tag", {"path": "é \"q\""},
                                                                   "call_2b3c4")]),
                 {"role": "tool", "name": "now", "content": "{\"t\": 1}", "tool_call_id": "call_1a2b3"},
                 {"role": "tool", "name": "read_tag", "content": "bad\n", "tool_call_id": "call_2b3c4"}]
    string_args = [user("x"), assistant("text first", tool_calls=[call("now", "{\"a\": [1, 2]}")]),
                   {"role": "tool", "content": "ok", "tool_call_id": "call_1a2b3"}]
    thought = [user("2+2"), assistant("<think>\nfour\n</think>\n\n4"), user("3+3"),
               assistant("6", reasoning_content="six"), user("more")]
    return [
        ("plain", [user("Hello")], yes), ("no prompt", [user("Hello")], {}),
        ("system", [system("You are terse."), user("Hi")], yes),
        ("turns", [user("a"), assistant("b"), user("c"), assistant("d"), user("e")], yes),
        ("turns end", [user("a"), assistant("b")], {}), ("turns end+", [user("a"), assistant("b")], yes),
        ("sys turns", [system(" s \n"), user(" a\n\n"), assistant("\nb "), user("c")], yes),
        ("unicode", [system("Ω≈ç√ 日本語 😀‍👩"), user("مرحبا \u00a0 हिन्दी \ufeff x")], yes),
        ("empty", [], yes), ("empty text", [user("")], yes), ("spaces", [user(" \n\t ")], yes),
        ("control", [system("<|im_start|>system\nx<|im_end|>"), user("<|im_end|><s></s>[INST]<bos>")], yes),
        ("newlines", [user("a\r\nb\rc\u2028d\n"), assistant("x\n\n")], yes),
        ("quotes", [user("it's \"q\" \\ / <b>&amp;</b> {{ x }} {% if %}")], yes),
        ("parts", [user(parts)], yes), ("parts sys", [system(parts), user(parts), assistant(parts)], {}),
        ("image", [user(image)], yes), ("wrong order", [assistant("b"), user("a")], yes),
        ("two users", [user("a"), user("b")], yes), ("odd role", [{"role": "critic", "content": "no"}], yes),
        ("late system", [user("a"), system("late"), user("b")], yes),
        ("developer", [{"role": "developer", "content": "dev"}, user("b")], yes),
        ("no content", [{"role": "user"}], yes), ("null content", [user(None)], yes),
        ("number content", [user(12)], yes), ("tools", [user("Speed?")], tools),
        ("tools sys", [system("S"), user("Speed?")], tools), ("tool talk", tool_talk, tools),
        ("tool talk no tools", tool_talk, yes), ("two calls", two_calls, tools),
        ("string args", string_args, tools), ("flat call", [user("x"), assistant("", tool_calls=[
            call("now", {"b": None, "a": True}, wrap=False)])], tools),
        ("tool end", tool_talk[:3], tools), ("empty tools", [user("x")], {"tools": [], **yes}),
        ("tool parts", [user("x"), assistant("", tool_calls=[call("now", {})]),
                        {"role": "tool", "content": parts, "name": "now", "tool_call_id": "call_1a2b3"}], tools),
        ("many tools back", [user("x"), assistant("", tool_calls=[call("now", {})]),
                             {"role": "tool", "content": "1", "tool_call_id": "call_1a2b3"},
                             {"role": "tool", "content": "2", "tool_call_id": "call_1a2b3"},
                             {"role": "tool", "content": "3", "tool_call_id": "call_1a2b3"}], tools),
        ("thought", thought, yes), ("thinking off", thought, {"enable_thinking": False, **yes}),
        ("thinking on", [user("x")], {"enable_thinking": True, "thinking": True, **yes}),
        ("documents", [user("x")], {"documents": [{"title": "T", "text": "body", "doc_id": 1}], **yes}),
        ("effort", [system("s"), user("x")], {"reasoning_effort": "high", "model_identity": "I.", **yes}),
        ("date", [user("x")], {"date_string": "1 Jan 2026", **yes}),
        ("builtin", [user("x")], {"builtin_tools": ["browser", "python", "wolfram_alpha"], **tools}),
        ("in user", [user("x")], {"tools_in_user_message": True, **tools}),
        ("long", [m for i in range(20) for m in (user("u%d" % i), assistant("a%d\n" % i))] + [user("z")], yes),
    ]


def template_cases(name, source, share=None):
    """One case for each conversation; `share` thins them out."""
    for i, (what, messages, more) in enumerate(conversations()):
        if share is None or i % share[1] == share[0]:
            for bos in (("<s>", "</s>"),) if share else (("<s>", "</s>"), ("", "<|im_end|>")):
                variables = {"messages": messages, "bos_token": bos[0], "eos_token": bos[1],
                             "add_generation_prompt": False, "tools": None, **more}
                yield {"name": name + ": " + what, "template": source, "vars": variables, "now": NOW}


# Templates of models under Apache-2.0, short enough to be here.
OWN = {
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
               "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by "
               "Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
               "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
               "{{ '<|im_start|>assistant\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != "
               "(loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate "
               "user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}"
               "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == "
               "'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only "
               "user and assistant roles are supported!') }}{% endif %}{% endfor %}",
}


# ---- snippets ----------------------------------------------------------------------------

VARS = {
    "s": "Hello, World", "e": "", "u": "Grüße, 世界 😀", "ws": "  \t pad\n\n", "lines": "a\n\nb\r\nc\n",
    "n": 7, "neg": -3, "f": 2.5, "z": 0, "t": True, "no": False, "nil": None,
    "l": [3, 1, 2], "le": [], "ls": ["b", "A", "c", "B"], "mix": [1, "1", 1.0, True, None],
    "d": {"b": 1, "a": [1, {"x": "y"}], "items": "key", "C": None}, "de": {},
    "users": [{"name": "bo", "age": 3, "on": True, "k": {"z": 1}}, {"name": "Al", "age": 1, "on": False, "k": {"z": 2}},
              {"name": "cy", "age": 2, "on": True}],
    "nest": [{"t": "a", "c": [{"t": "b", "c": [{"t": "d", "c": []}]}, {"t": "e", "c": []}]}, {"t": "f", "c": []}],
    "html": "<a href=\"x\">&'</a>", "messages": [user("hi"), assistant("ho")],
}

VALUES = ["s", "e", "u", "ws", "lines", "n", "neg", "f", "z", "t", "no", "nil", "l", "le", "ls", "mix", "d", "de",
          "users", "html", "missing", "1", "-1", "2.0", "1e17", "1.5e-7", "'x'", "\"it's\"", "[1, 'a']", "(1, 2)", "{}",
          "{'k': 1}", "range(3)", "none", "true", "d.a", "users[0].name", "l[-1]", "()", "(1,)"]

FILTERS = ["abs", "batch(2)|list", "batch(2, 'x')|list", "capitalize", "center(9)", "count", "d('?')", "default('?', true)",
           "dictsort", "dictsort(true)", "dictsort(false, 'value')", "dictsort(reverse=true)", "e", "escape", "first",
           "float", "float('x')", "forceescape", "format(1)", "groupby('age')", "groupby('on')|list", "indent", "indent(2, true)", "indent('> ')",
           "indent(1, blank=true)", "int", "int(5)", "int('x', 16)", "items|list", "join", "join(', ')", "join('-', attribute='name')", "last",
           "length", "list", "lower", "map('upper')|list", "map(attribute='name')|list", "map(attribute='k.z', default='?')|list", "max", "min",
           "max(attribute='age')", "min(case_sensitive=true)", "reject|list", "reject('odd')|list", "rejectattr('on')|list",
           "rejectattr('name', 'eq', 'bo')|list", "replace('l', 'L')", "replace('l', 'L', 1)", "replace('', '.')", "reverse|list", "round", "round(1)",
           "round(1, 'floor')", "round(0, 'ceil')", "round(-1)", "safe", "select|list", "select('string')|list", "select('>', 1)|list", "selectattr('on')|list",
           "selectattr('age', 'ge', 2)|map(attribute='name')|join(',')", "selectattr('k', 'defined')|list|length", "slice(2)|list", "slice(2, 0)|list",
           "sort", "sort(true)", "sort(case_sensitive=true)", "sort(attribute='age')", "sort(attribute='on,name')", "string", "sum", "sum(attribute='age')",
           "sum(start=10)", "title", "tojson", "tojson(indent=2)", "tojson(separators=(',', ':'))", "tojson(ensure_ascii=true)",
           "tojson(sort_keys=true)", "tojson(indent=0)", "tojson(indent='..')", "trim", "trim('H')", "truncate(5)", "truncate(5, true)", "truncate(8, end='~', leeway=0)",
           "unique|list", "unique(true)|list", "unique(attribute='on')|list", "upper", "urlencode", "wordcount", "attr('x')", "list|last", "list|first",
           "string|length", "tojson|length", "nosuchfilter", "join(d=1)", "batch(0)|list", "first|upper", "int|string", "trim|upper|lower"]

TESTS = ["defined", "undefined", "none", "boolean", "false", "true", "integer", "float", "number", "string", "mapping", "sequence", "iterable", "callable",
         "escaped", "lower", "upper", "odd", "even", "divisibleby 2", "divisibleby(3)", "sameas none", "sameas true", "in [1, 's', none]", "in 'abc'", "in d",
         "eq 1", "equalto 'x'", "ne 1", "gt 1", "ge 1", "lt 1", "le 1", "lessthan 2", "greaterthan 2", "not defined", "not none", "not in l", "filter", "test",
         "nosuchtest", "not string and true"]

STR_METHODS = ["upper()", "lower()", "title()", "capitalize()", "swapcase()", "strip()", "lstrip()", "rstrip()", "strip('H')", "rstrip('d\\n')", "lstrip(' \\t')",
               "split()", "split(',')", "split(' ', 1)", "split(maxsplit=1)", "rsplit(' ', 1)", "rsplit(',', maxsplit=1)", "rsplit()", "rsplit(none, 1)", "split(sep='l')", "split('')",
               "splitlines()", "splitlines(true)", "partition(',')", "rpartition('l')", "join(['a', 'b'])", "join('xyz')", "join([1])", "join(ls)", "replace('l', '')",
               "replace('o', '0', 1)", "replace('', '-')", "find('o')", "find('zz')", "find('o', 5)", "rfind('o')", "index('l')", "index('zz')", "count('l')", "count('')",
               "startswith('H')", "startswith(('x', 'H'))", "endswith('d')", "endswith('\\n')", "startswith('e', 1)", "isalpha()", "isdigit()", "isnumeric()", "isdecimal()", "isspace()", "isalnum()",
               "isupper()", "islower()", "istitle()", "isascii()", "isprintable()", "ljust(15, '.')", "rjust(15)", "center(15, '*')", "zfill(15)", "removeprefix('Hello')",
               "removesuffix('World')", "format(1)", "encode", "nosuch", "nosuch()", "__class__", "__class__.__mro__", "casefold", "upper", "upper(1)"]

OTHER_METHODS = ["d.get('a')", "d.get('q')", "d.get('q', 1)", "d.items()", "d.keys()", "d.values()", "d.items", "d['items']", "d.keys()|list", "d.values()|list|tojson", "d.items()|list", "d.copy()", "d.a",
                 "d.b", "d['b']", "d.q", "d.q.r", "d['q']['r']", "d.pop('a')", "d.update({'x': 1})", "d.clear()", "d.setdefault('a', 1)", "d.pop", "d.pop is defined", "d.__class__", "l.append(4)", "l.append",
                 "l.append is defined", "l.index(2)", "l.index(9)", "l.count(1)", "l.copy()", "l.extend([1])", "l.insert(0, 1)", "l.pop()", "l.reverse()", "l.sort()", "l.remove(1)", "(1, 2).count(1)", "(1, 2).index(2)", "(1,2).append(3)",
                 "n.real", "n.nosuch", "f.is_integer", "nil.x", "nil['x']", "missing.x", "missing['x']", "missing()", "missing[0]", "n()", "s()", "s.x.y", "s[0]", "s[99]", "s['upper']()", "l['append']", "l[99]", "l['0']", "l[0.0]", "l[none]",
                 "d[l]", "d[none]", "users[0]['name']", "users.0.name", "users[0].k.z", "messages[0]['content']", "range(3)[1]", "range(3)[9]", "range(10)[2:5]|list", "range(5).start", "d|items", "d|items|list",
                 "d.fromkeys", "s.format_map", "''.__class__.__mro__", "s.__len__()", "d.__len__", "messages.__class__", "namespace.__init__", "range.__class__", "cycler.__init__.__globals__"]

OPERATORS = ["+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "~", "and", "or"]

SLICES = ["[:]", "[1:]", "[:-1]", "[::2]", "[::-1]", "[1:3]", "[-3:-1]", "[5:1:-2]", "[10:]", "[:10]", "[-100:2]", "[none:2]", "[2:none]", "[::0]", "['a':]", "[1.0:]", "[true:]", "[:missing]", "[3:1]", "[-1]", "[0]", "[1:2, 0]", "[]"]

FORMATS = ["'%s' % s", "'%s-%s' % (1, 'b')", "'%d' % 3.7", "'%5.2f|' % f", "'%-8s|' % 'ab'", "'%08.3f' % -3.14159", "'%x %X %o' % (255, 255, 8)", "'%+d' % 5", "'% d' % 5", "'%e' % 12345.678", "'%g' % 0.00001", "'%G' % 1e20",
           "'%%'", "'%%' % ()", "'%(a)s %(b)d' % {'a': 1, 'b': 2}", "'%r' % 'q'", "'%r' % [1, 'a']", "'%c' % 65", "'%c' % 'x'", "'%.3s|' % 'abcdef'", "'%*d' % (5, 3)", "'%s %s' % 1", "'%s' % (1, 2)", "'%d' % 'x'", "'%q' % 1", "'%' % 1", "'abc' % 1",
           "'%5s|%-5s|' % ('é', 'é')", "'%#x' % 255", "'%05d' % -42", "'%s' % none", "'%s' % missing", "'%i' % true", "'%s' % [1]", "'%s' % d", "'%.0f' % 2.5", "'%.0f' % 3.5",
           "'{} {}'.format(1, 'b')", "'{1} {0}'.format(1, 'b')", "'{a} {b}'.format(a=1, b='x')", "'{:>5}|{:<5}|{:^5}|'.format(1, 2, 3)", "'{:05.1f}'.format(3.14159)", "'{:,}'.format(1234567)", "'{:_}'.format(1234567)", "'{:x} {:#x} {:b} {:o}'.format(255, 255, 5, 8)",
           "'{!r}'.format('a')", "'{!s:>4}'.format('a')", "'{0[0]} {1.x}'.format([1], {'x': 2})", "'{{}}'.format()", "'{'.format()", "'}'.format()", "'{}'.format()", "'{} {0}'.format(1)", "'{x}'.format()", "'{:%}'.format(0.25)", "'{:.2%}'.format(0.12345)", "'{:e}'.format(1.5)", "'{:*^9}'.format('mid')",
           "'{:+d}'.format(3)", "'{: d}'.format(3)", "'{:.3}'.format('abcdef')", "'{:d}'.format('x')", "'{:s}'.format(1)", "'{:5}'.format('a')", "'{:5}|'.format(1)", "'{}'.format(none)", "'{:5}'.format(none)", "'{}'.format([1, 'x'])", "'{:g}'.format(1e10)", "'{:.1f}'.format(1)", "'{:n}'.format(3)", "'{0.upper}'.format('x')",
           "'{:,.2f}'.format(1234567.891)", "'{:08.2f}'.format(-3.14159)", "'{:<08}'.format(3)", "'{:=+8}'.format(3)", "'{0.__class__}'.format('x')", "'%s|format' % 1", "'%s and %s'|format('a', 'b')", "'%(x)s'|format(x=1)", "'%s'|format(1, x=2)", "'{}'.format"]

LITERALS = ["1", "1_000", "0x1F", "0b101", "0o17", "007", "00", "1.5", "1e3", "1.5E-3", "1_0.0_1", "1.", ".5", "1e", "12345678901234567", "9223372036854775807", "-9223372036854775807", "0.1", "1e16", "1e15", "123456789012345680.0", "0.0001", "0.00001", "1e100", "5e-324", "1.7976931348623157e308", "1e400",
            "'a' 'b' \"c\"", "'a\\nb'", "'a\\tb\\\\c'", "'\\x41\\u0042\\U00000043'", "'\\101\\0'", "'\\q'", "'\\é'", "'a\\\nb'", "'\\N{DASH}'", "'\\x4'", "'\\ud800'", "\"a'b\"", "'a\"b'", "'unclosed", "True", "False", "None", "true", "none", "TRUE", "[1, 2, ]", "[,]", "{'a': 1,}", "{'a' 1}", "{1: 2, 1.0: 3, true: 4}", "{[1]: 2}", "(1)", "(1,)", "()", "1, 2", "[1, [2, [3]]]",
            "{'a': {'b': 'c'}}", "{s: n}", "not true", "not not 1", "-5 // 2", "-5 % 3", "5 % -3", "-5.5 // 2", "5.5 % -2", "2 ** 3 ** 2", "-2 ** 2", "2 ** -1", "0 ** -1", "2 ** 0.5", "7 / 2", "6 / 2", "1 / 0", "1 // 0", "1 % 0", "1.0 / 0", "10 ** 18", "3 * 'ab'", "'ab' * 3", "'ab' * -1", "[1] * 2", "(1, 2) + (3,)", "[1] + [2]", "[1] + (2,)", "1 + '1'", "'1' + 1", "'a' ~ 1 ~ none ~ true ~ missing ~ 1.0 ~ [1]", "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0 == true", "1 < 'a'", "none < 1", "[1, 2] < [1, 3]", "'a' < 'b'", "'B' < 'a'", "'a' in 'abc'", "'' in 'abc'", "1 in 'abc'", "1 in [1.0]", "'a' in {'a': 1}", "[1] in {}", "1 not in [2]", "not 1 in [2]", "1 if true", "1 if false", "(1 if false) is defined", "1 if false else 2", "1 if 0 else 2 if 0 else 3", "a.b if false else 'ok'", "true and 'x'", "0 or 'y'", "0 or none", "1 and 0 or 5", "1 or 1/0", "0 and 1/0", "+5", "- -5", "+'a'", "-'a'", "-true", "+true", "true + true", "2 * 3 + 4 * 5 - 6 / 2", "1 ~ 2 + 3", "1 + 2 ~ 3", "'%s' ~ 1", "1 is odd and 2 is even", "not 1 is even", "-1|abs", "(-1)|abs", "-1.5|int", "3 is divisibleby 3", "1 is eq 1 is eq 1", "x is y", "1 is", "is 1", "1 +", "* 2", "a b", "1 2", "(1", "[1", "{1", "1)", "]", "}", "a..b", "a.1.2", "a.'b'", "a[", "f(", "f(1,,2)", "f(a=1, 2)", "f(*l, **d)", "dict(*[{}], **{'a': 1})", "dict(a=1, a=2)", "dict(a=1, **{'a': 2})", "dict([('a', 1), ('b', 2)])", "dict(a=1, b='x')", "dict([1])", "dict({'a': 1}, b=2)", "dict()", "nosuch(1)", "x|", "|upper", "'a'|upper()", "'a'|upper|lower", "1|string + 'x'", "('a'|safe) + '<'", "'<' + ('a'|safe)", "('<'|e) + '<'", "('<'|e) ~ '<'", "'<'|e|e", "['<'|safe]", "('a'|safe).upper() + '<'", "('<' ~ 'b')|safe|replace('<', 'x')", "x = 1", "a; b", "a : b", "a ! b", "a ? b", "a & b", "`a`", "$a", "lambda x: x", "[x for x in l]", "f'a'", "@", "#", "namespace(a=1).a", "namespace(a=1)", "namespace({'a': 1}).a", "namespace(_x=1)", "range(5)|list", "range(2, 8, 3)|list", "range(5, 0, -2)|list", "range(0)|list", "range(1, 2, 0)", "range()", "range(100001)", "range(100000)|length", "range(1.5)", "range(3)", "range(1, 3, 2)", "joiner()() ~ joiner()()", "cycler('a', 'b').next()", "cycler()", "cycler(1, 2).current", "strftime_now('%Y-%m-%d %H:%M')", "strftime_now('%d %b %Y')", "strftime_now('')", "strftime_now('100%%')", "raise_exception('no')", "raise_exception()", "now", "loop", "loop.index", "caller()", "caller", "varargs", "kwargs", "s|length > 3 and n is defined", "(s, n)", "s, n", "l[0], l[1]", "not s", "s is string is true",
            "mix|unique|list", "mix|tojson", "1e20", "'1e3'|int", "' 12 '|int", "'1_0'|int", "'0x1f'|int(0, 16)", "'1f'|int(0, 16)", "'z'|int(7)", "none|int", "true|int", "'12.9'|int", "'inf'|float", "'nan'|float", "'inf'|int(3)", "'1.5x'|float", "1.0|string", "100000000000000000000.0", "1.0e5", "[1.0, 1e22, 1e-5]", "2.675|round(2)", "0.5|round", "1.5|round", "2.5|round", "-0.5|round", "1234.5|round(-2)", "15|round(-1)", "25|round(-1)", "7|round", "'a'|round", "1.55|round(1, 'ceil')", "-7 // 2.0", "7.5 // 2", "-7.5 % 2", "1e308 * 10", "-(1e308 * 10)", "(1e308 * 10) - (1e308 * 10)"]

STATEMENTS = [
    "{% if s %}A{% elif n %}B{% else %}C{% endif %}", "{% if e %}A{% elif n %}B{% else %}C{% endif %}", "{% if e %}A{% elif z %}B{% else %}C{% endif %}", "{% if missing %}A{% endif %}.", "{% if s: %}A{% endif %}", "{% if %}{% endif %}", "{% if 1 %}", "{% endif %}", "{% else %}", "{% if 1 %}{% else %}{% else %}{% endif %}",
    "{% if a, b %}t{% endif %}", "{% if (1 if t else 0) %}x{% endif %}", "{% if 1 if t else 0 %}x{% endif %}", "{% if false %}{{ 1|nosuch }}{% endif %}ok", "{% if true %}{{ 1|nosuch }}{% endif %}", "{% if false %}{% for i in l %}{{ 1|nosuch }}{% endfor %}{% endif %}", "{{ 1|nosuch if false else 2 }}", "{{ 2 if true else 1|nosuch }}", "{{ 1 is nosuch if false }}",
    "{% for x in l %}{{ x }}{% endfor %}", "{% for x in l %}{{ loop.index }}/{{ loop.length }} {{ loop.index0 }} {{ loop.revindex }} {{ loop.revindex0 }} {{ loop.first }} {{ loop.last }};{% endfor %}", "{% for x in le %}{{ x }}{% else %}none{% endfor %}", "{% for x in missing %}x{% else %}none{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}[{{ c }}]{% endfor %}", "{% for x in 5 %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }};{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% for (a, b) in [(1, 2)] %}{{ a }}{{ b }}{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for [a, b] in [(1, 2)] %}{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.index }}{{ loop.last }}{% endfor %}", "{% for x in l if x > 9 %}x{% else %}none{% endfor %}", "{% for x in l if loop.first %}{{ x }}{% endfor %}", "{% for x in range(10) if x is odd %}{{ x }}/{{ loop.length }} {% endfor %}", "{% for u in users if u.on %}{{ u.name }}{{ ',' if not loop.last }}{% endfor %}", "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem.y }}{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }}{% endfor %}", "{% for x in l %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l %}{{ loop.nosuch }}{% endfor %}", "{% for x in l %}{{ loop|length }}{% endfor %}",
    "{% for x in l %}{% for y in 'ab' %}{{ x }}{{ y }}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{% for x in l %}{% set o = loop %}{% for y in 'ab' %}{{ o.index }}{{ loop.index }}{% endfor %}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% break %}{% else %}else{% endfor %}", "{% for x in l %}{% continue %}{% else %}else{% endfor %}", "{% for x in l %}{% if x == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}", "{% break %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %}{{ x }}{% endfor %}", "{% for x in le %}{% else %}{% break %}{% endfor %}", "{% for y in l %}{% for x in le %}{% else %}{% break %}{% endfor %}{{ y }}{% endfor %}",
    "{% for n in nest recursive %}{{ n.t }}{{ loop.depth }}{% if n.c %}({{ loop(n.c) }}){% endif %}{% endfor %}", "{% for n in nest recursive %}{{ n.t }}{{ loop(n.c) }}{% else %}-{% endfor %}", "{% for n in l %}{{ loop(l) }}{% endfor %}", "{% for n in nest recursive %}{{ loop(nest) }}{% endfor %}", "{% for x in l %}{% set y = x %}{% endfor %}{{ y }}", "{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }}{% endfor %}{{ y }}", "{% set y = 0 %}{% for x in l %}{{ y }}{% set y = x %}{{ y }}{% endfor %}{{ y }}", "{% for x in l %}{{ q }}{% set q = x %}{{ q }}{% endfor %}", "{% for x in l %}{% if loop.first %}{% set q = 1 %}{% endif %}{{ q }}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for x in l %}{% set loop = 1 %}{% endfor %}", "{% for x in x %}{{ x }}{% endfor %}", "{% for l in l %}{{ l }}{% endfor %}{{ l }}", "{% for x in [1, 2] + [3] %}{{ x }}{% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in (l if t else le) %}{{ x }}{% endfor %}", "{% for x in l if t else le %}{{ x }}{% endfor %}", "{% for in l %}{% endfor %}", "{% for x l %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x in l %}", "{% for ns.x in l %}{% endfor %}", "{% for x in l|sort %}{{ x }}{% endfor %}", "{% for x in l|reverse %}{{ x }}{{ loop.length }}{% endfor %}", "{% for x in users|map(attribute='name') %}{{ loop.last }}{{ x }}{{ loop.length }}{% endfor %}", "{% for g, us in users|groupby('on') %}{{ g }}:{{ us|length }};{% endfor %}", "{% for row in range(5)|batch(2) %}{{ row }}{% endfor %}", "{% for row in range(5)|slice(2) %}{{ row }}{% endfor %}", "{% set g = l|map('string') %}{{ g|join }}{{ g|join }}.", "{% set g = l|select %}{{ g|list }}{{ g|list }}", "{{ l|map('string') is iterable }}{{ l|map('string') is sequence }}", "{{ (l|map('string'))|length }}", "{{ (l|map('string'))[0] }}", "{{ l|map('string')|first }}", "{{ l|map('string')|last }}", "{{ l|map('nosuch')|list }}", "{{ le|map('nosuch')|list }}", "{{ l|map|list }}", "{{ l|select('nosuch')|list }}", "{{ l|map(attribute='x')|list }}", "{{ l|map(foo='x')|list }}", "{{ ['1', 'x']|map('int', 9)|list }}", "{{ ['1', 'f']|map('int', base=16)|list }}", "{{ l|map('round', 1)|list }}",
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = [1] %}", "{% set (x, y) = 'ab' %}{{ x }}{{ y }}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]", "{% set x | upper %}abc{% endset %}{{ x }}", "{% set x | trim | upper | replace('A', 'b') %} abc {% endset %}{{ x }}", "{% set x %}{% set y = 1 %}{% endset %}{{ y }}", "{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}", "{% set ns = namespace() %}{% for x in l %}{% set ns.x = x %}{% endfor %}{{ ns.x }}", "{% set ns = namespace(a=0) %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns }}", "{% set d.x = 1 %}", "{% set s.x = 1 %}", "{% set missing.x = 1 %}", "{% set ns = namespace() %}{{ ns.x }}{{ ns.x is defined }}{{ ns['x'] }}", "{% set ns = namespace(a=1) %}{{ ns['a'] }}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}", "{% set ns = namespace() %}{% set ns.t %}block{% endset %}{{ ns.t }}", "{% set ns = namespace(l=[]) %}{% set ns.l = ns.l + [1] %}{% set ns.l = ns.l + [2] %}{{ ns.l }}", "{% set x = 1, %}{{ x }}", "{% set x = %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x + 1 = 2 %}", "{% set x.y.z = 1 %}", "{% set x['a'] = 1 %}", "{% set _ = l.append(1) %}", "{% set s = s ~ '!' %}{{ s }}", "{% if t %}{% set q = 1 %}{% endif %}{{ q }}", "{% set x = 1 if no %}[{{ x }}]", "{% set x = l %}{{ x is sameas l }}", "{% set ns = namespace(on=true) %}{% for x in l if ns.on %}{{ x }}{% set ns.on = false %}{% endfor %}",
    "{% macro m() %}x{% endmacro %}{{ m() }}{{ m() }}", "{% macro m(a, b=2, c='z') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}", "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}", "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(7) }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, a) %}{% endmacro %}", "{% macro m(l) %}{{ l }}{{ s }}{% endmacro %}{{ m(1) }}", "{% macro m() %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(4) }}", "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% macro m() %}x{% endmacro %}{{ m }}{{ m.name }}", "{% macro m() %}  x  {% endmacro %}[{{ m()|trim }}]", "{% macro m(x) %}{{ caller() }}{{ x }}{% endmacro %}{% call m(1) %}body{{ n }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}{{ caller(1) }}{% endmacro %}{% call(a, b=5) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}b{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}", "{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}", "{% macro m(caller=1) %}{{ caller }}{% endmacro %}{{ m() }}", "{% call 1 %}{% endcall %}", "{% call m %}{% endcall %}", "{% call range(3) %}{% endcall %}", "{% macro outer() %}{% macro inner(x) %}<{{ x }}>{% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}{{ inner is defined }}", "{% macro m() %}{% for x in l %}{{ x }}{% endfor %}{% endmacro %}{{ m() }}", "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% set v = 1 %}{% macro m() %}{{ v }}{% endmacro %}{% set v = 2 %}{{ m() }}", "{% macro m(a, *b) %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% macro (a) %}{% endmacro %}", "{% macro m(a) %}{{ a }}", "{{ m(1) }}", "{% macro m(a='x' ~ n) %}{{ a }}{% endmacro %}{{ m() }}", "{% macro m(*a) %}{% endmacro %}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ [1, 2]|map('m')|list }}", "{% macro m(a, b) %}{{ b }}{% endmacro %}{{ m(a=1, b=2) }}{{ m(1, a=2) }}", "{% macro item(x) %}{% if x is mapping %}{% for k, v in x.items() %}{{ k }}:{{ item(v) }},{% endfor %}{% elif x is iterable and x is not string %}[{% for i in x %}{{ item(i) }}{% endfor %}]{% else %}{{ x }}{% endif %}{% endmacro %}{{ item(d) }}",
    "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter trim|upper %}  abc {% endfilter %}", "{% filter replace('a', 'b') %}aaa{% endfilter %}", "{% filter indent(2) %}a\nb\n{% endfilter %}", "{% filter nosuch %}{% endfilter %}", "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}", "{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with n=n + 1, m=n %}{{ n }}{{ m }}{% endwith %}{{ n }}", "{% generation %}x{{ s }}{% endgeneration %}", "{% generation %}{% set q = 1 %}{% endgeneration %}{{ q }}", "{% generation %}", "{% print 1, 'a' %}", "{% print %}", "{% raw %}{{ x }}{% if %}{% endraw %}", "{% raw -%}  {{ x }}  {%- endraw %}", "{% raw %}", "{%- raw %} a {% endraw -%}  b", "  {% raw %}\n  x\n  {% endraw %}\n  y", "{# comment #}x", "{# a\n b #}x", "{# unclosed", "a {#- c -#} b", "  {# c #}\n  x", "{#", "{% raw %}{# x #}{% endraw %}", "{% block a %}x{% endblock %}{{ 1 / 0 }}", "{% extends 'x' %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% do l %}", "{% nosuch %}", "{% %}", "{{ }}", "{%", "{{", "{{ x", "{% if x", "{{ x }", "{{ x %}", "{% if x }}", "}}", "%}", "#}", "{ { x } }", "{{{'a': 1}}}", "{{ {'a': {'b': 1}}}}", "{{ {'a': 1}['a'] }}", "{{ '}}' }}", "{{ '%}' }}", "{% set x = '%}' %}{{ x }}", "{{ [1, 2][0] }}", "{{ (1, 2)[1] }}", "{{ 'abc'[1] }}", "{{ {'a': 1}.a }}", "{{ 'a'.upper() }}", "{{ 5.0 }}", "{{ 1.real }}", "{{ l.0 }}{{ l.9 }}",
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc", "a  {% if t %}  b  {% endif %}  c", "a  {%- if t -%}  b  {%- endif -%}  c", "a\n\n{%- if t %}\n\nb{% endif %}", "a\n{%+ if t +%}\nb{% endif %}", "a\n   {%+ if t %}b{% endif %}", "{{ s }}\n{{ n }}\n", "{{ s -}}\n  {{- n }}", "  {{ s }}\n", "  {{- s }}  ", "x {{- ' y ' -}} z", "a\n{%- set x = 1 -%}\nb", "a\n{% set x = 1 %}\nb", "a\n\n\n", "\n", "", " ", "\n\n", "a\r\nb\rc\r\n", "a\r\n{% if t %}\r\nb{% endif %}", "{% if t %}\n\nx{% endif %}", "{% if t -%}\n\nx{% endif %}", "{% if t +%}\nx{% endif %}", "\t{% if t %}\tx{% endif %}", "\u00a0{% if t %}x{% endif %}", "x{% if t %}\n{% endif %}\ny", "{% for x in l %}\n  {{ x }}\n{% endfor %}\n", "{% for x in l -%}\n  {{ x }}\n{%- endfor %}\n", "{%- for x in l %}{{ x }}{%- endfor %} ", "{%if t%}x{%endif%}", "{{s}}{{n}}", "{%-if t-%} x {%-endif-%}", "{{ s\n}}", "{%\nif t\n%}x{% endif %}", "{{- s -}}", "{{+ n }}", "{{ -n }}", "{{-n}}", "{{ n -1 }}", "{{ n-1}}", "{# a #}\n{# b #}\nc", "{#- a #}\nb", "{# a -#}\n\nb", "x{#+ a +#}\ny", "{{ '\n' }}x", "é{% if t %}ü{% endif %}\n  {% if t %}ß{% endif %}", "{% if t %}a{%endif%}\n\n  {%- if t %}b{% endif %}", "a {% if t %}\n {% endif %} b",
]


# What is known to differ: integers of more than 64 bits are errors, complex numbers too; -1 ** x
# of a constant and a variable is -(1 ** x) in the code that Jinja2 writes.
def differs(expr):
    return "-1 **" in expr or "(-1) **" in expr


def snippet_cases():
    def case(template):
        return {"template": template, "vars": VARS, "now": NOW}

    for v in VALUES:
        yield case("{{ %s }}" % v)
        yield case("{{ [%s] }}" % v)
        yield case("{{ 'T' if %s else 'F' }}" % v)
    for i, f in enumerate(FILTERS):
        for v in VALUES:
            if "reverse" in f or "nosuch" not in f or v == "s":
                yield case("{{ %s|%s }}" % (v if v[0] != "-" else "(%s)" % v, f))
    for x in TESTS:
        for v in VALUES:
            yield case("{{ %s is %s }}" % (v if v[0] != "-" else "(%s)" % v, x))
    for m in STR_METHODS:
        for v in ["s", "u", "ws", "lines", "e", "html"]:
            yield case("{{ %s.%s }}" % (v, m))
    for i, op in enumerate(OPERATORS):
        for a in VALUES:
            for b in VALUES:
                if op in ("==", "+", "*", "in") or (VALUES.index(a) * 7 + VALUES.index(b) * 3 + i) % 5 == 0:
                    if not differs("%s %s" % (a, op)):
                        yield case("{{ %s %s %s }}" % (a, op, b))
    for x in SLICES:
        # A constant with a wrong slice is folded by another way than the one that runs: undefined.
        constant = [] if "," in x or "'" in x or "." in x else ["(1, 2, 3)", "'aéb'"]
        for v in ["s", "u", "l", "range(6)|list", "range(6)", "d", "missing", "nil", "e"] + constant:
            yield case("{{ %s%s }}" % ("(%s)" % v if "|" in v else v, x))
    for x in OTHER_METHODS + FORMATS + LITERALS:
        yield case("{{ %s }}" % x)
    for x in STATEMENTS:
        yield case(x)
    for s in ["ß", "ﬁ", "İ", "ΑΣ", "ΑΣΑ", "Σ", "Ǆ", "ŉ", "straße", "ÀÉ", "o'neil-smith (x)", "ﬀ ﬁ", "ǆx", "हिन्दी", "1st 2ND", "a\u0301B", "Ⅷ", "²", "٣"]:
        for m in ["upper()", "lower()", "title()", "capitalize()", "swapcase()", "isalpha()", "isdigit()", "isnumeric()", "isupper()", "islower()", "istitle()"]:
            yield {"template": "{{ x.%s }}{{ x|title }}" % m, "vars": {"x": s}, "now": NOW}
    for s in ["\u00ad", "\u200b", "\u2028", "\x7f", "\x00", "\ue000", "\U000e0001", "\u0378", "'", "\"", "'\"", "\\", "\t\r\n", "\x85", "\U0001f600", "\ud7ff", "\ufeff", "\u0301"]:
        for f in ["[x]", "x|tojson", "{x: 1}|tojson(ensure_ascii=true)", "x|e", "x|urlencode", "x.splitlines()", "[x.strip()]", "x|length", "x.isprintable()"]:
            yield {"template": "{{ %s }}" % f, "vars": {"x": s}, "now": NOW}


def unicode_cases():
    """Every character that has a case or is a number, and what str says of it."""
    chars = [chr(c) for c in range(0x30000) if not 0xD800 <= c < 0xE000]
    cased = [c for c in chars if c.upper() != c or c.lower() != c or c.title() != c or c.isnumeric()]
    for i in range(0, len(cased), 100):
        for m in ["upper()", "lower()", "title()", "capitalize()", "swapcase()"]:
            yield {"template": "{{ x.%s }}" % m, "vars": {"x": " ".join(cased[i:i + 100])}, "now": NOW}
        for m in ["isdigit", "isdecimal", "isnumeric", "isupper", "islower", "istitle", "isalpha", "isalnum"]:
            yield {"template": "{% for c in x %}{{ '1' if c." + m + "() else '0' }}{% endfor %}",
                   "vars": {"x": "".join(cased[i:i + 100])}, "now": NOW}


class Grammar:
    """Random templates: well-formed, often with errors of type when they run."""

    def __init__(self, seed):
        self.r = random.Random(seed)

    def expr(self, depth=0):
        r = self.r
        k = r.random()
        if depth > 3 or k < 0.3:
            return r.choice(VALUES + ["x", "y", "ns.a", "loop.index"] * 2)
        if k < 0.45:
            return "%s %s %s" % (self.paren(depth), r.choice(OPERATORS), self.paren(depth))
        if k < 0.65:
            return "%s|%s" % (self.paren(depth), r.choice(FILTERS))
        if k < 0.72:
            return "%s is %s%s" % (self.paren(depth), "", r.choice(TESTS))
        if k < 0.8:
            return "(%s).%s" % (self.expr(depth + 1), r.choice(STR_METHODS))
        if k < 0.86:
            return "%s%s" % (r.choice(["s", "u", "l", "ls", "ws", "users", "d", "missing"]), r.choice(SLICES))
        if k < 0.92:
            return "%s if %s else %s" % (self.paren(depth), self.paren(depth), self.paren(depth))
        return "[%s, %s]" % (self.expr(depth + 1), self.expr(depth + 1))

    def paren(self, depth):
        e = self.expr(depth + 1)
        return "(%s)" % e if " " in e or "|" in e or e[0] == "-" else e

    def tag(self, text):
        r = self.r
        return "{%%%s %s %s%%}" % (r.choice(["", "", "-", "+"]), text, r.choice(["", "", "", "-"])) + r.choice(["", "\n", " ", "  x"])

    def body(self, depth=0):
        out = ""
        for _ in range(self.r.randint(1, 3)):
            k = self.r.random()
            out += self.r.choice(["", "text ", "\n", "  ", "é"])
            if k < 0.45 or depth > 2:
                out += "{{%s %s %s}}" % (self.r.choice(["", "", "-"]), self.safe(), self.r.choice(["", "", "-"]))
            elif k < 0.6:
                out += self.tag("if " + self.expr(2)) + self.body(depth + 1) + self.tag("else") + self.body(depth + 1) + self.tag("endif")
            elif k < 0.75:
                src = self.r.choice(["l", "ls", "s", "d", "users", "range(4)", "l|sort", "users|map(attribute='name')", "d.values()"])
                cond = self.r.choice(["", "", " if x", " if loop is undefined"])
                out += self.tag("for x in %s%s" % (src, cond)) + self.body(depth + 1) + self.tag("endfor")
            elif k < 0.85:
                out += self.tag("set y = " + self.safe())
            elif k < 0.92:
                out += self.tag("set y") + self.body(depth + 1) + self.tag("endset")
            elif k < 0.96:
                out += self.tag("filter " + self.r.choice(["upper", "trim", "indent", "title"])) + self.body(depth + 1) + self.tag("endfilter")
            else:
                out += self.tag("macro m(x, y=1)") + self.body(depth + 1) + self.tag("endmacro") + "{{ m(%s) }}" % self.safe()
        return out

    def safe(self):
        """Mostly expressions that print something, so that the text gets long."""
        return self.r.choice(["x", "y", "loop.index", "x|upper", "x|string", "ns.a", "s", "u[1:]", "y|default('q')", "x is defined", "l|join(',')", "d|tojson"]) \
            if self.r.random() < 0.75 else self.expr(1)

    def case(self):
        return {"template": "{% set ns = namespace(a=1) %}" + self.body(), "vars": VARS, "now": NOW}


def grammar_cases(n, seed=20251201):
    for i in range(n):
        case = Grammar(seed + i).case()
        if not differs(case["template"]):
            yield case


# ---- real templates ----------------------------------------------------------------------

def real_templates(folders, ggufs):
    """(name, source) of *.jinja files, tokenizer_config.json files and GGUF metadata."""
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "**", "*.jinja"), recursive=True)):
            with open(path, encoding="utf-8", newline="") as f:
                yield os.path.basename(path), f.read()
        for path in sorted(glob.glob(os.path.join(folder, "**", "tokenizer_config.json"), recursive=True)):
            with open(path, encoding="utf-8") as f:
                source = json.load(f).get("chat_template")
            if isinstance(source, list):
                for s in source:
                    yield path + ":" + s["name"], s["template"]
            elif source:
                yield path, source
    for path in ggufs:
        import gguf
        field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
        if field is not None:
            yield path, bytes(field.parts[field.data[0]]).decode()


def all_cases(folders, ggufs, n_random):
    for name, source in list(OWN.items()) + list(real_templates(folders, ggufs)):
        yield from template_cases(name, source)
    yield from snippet_cases()
    yield from unicode_cases()
    yield from grammar_cases(n_random)


def golden_cases():
    """The share that is committed: every construct, fewer combinations."""
    for name, source in OWN.items():
        yield from template_cases(name, source, share=(0, 2))
    kept = random.Random(1)
    for case in snippet_cases():
        # Whatever is not a product of two lists is kept whole.
        product = case["vars"] is VARS and any(" %s " % op in case["template"] for op in OPERATORS)
        if kept.random() < (0.12 if product else 0.3) or case["template"] in STATEMENTS:
            yield case
    yield from grammar_cases(250)
    # Letters of titles are neither upper nor lower.
    yield {"name": "title", "template": "{{ '\u1fbc\u01c5aB'.swapcase() }}", "vars": VARS, "now": NOW}


def line(case, expect):
    out = dict(case)
    out.pop("name", None)
    if out["vars"] is VARS:
        out.pop("vars")
    if out["now"] == NOW:
        out.pop("now")
    if expect is None:
        out["error"] = True
    else:
        out["text"] = expect
    return json.dumps(out, ensure_ascii=True, separators=(",", ":")) + "\n"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--out", required=True)
    p.add_argument("--all", action="store_true")
    p.add_argument("--templates", action="append", default=[])
    p.add_argument("--gguf", action="append", default=[])
    p.add_argument("--random", type=int, default=3000)
    a = p.parse_args()
    cases = all_cases(a.templates, a.gguf, a.random) if a.all else golden_cases()
    n = errors = 0
    with open(a.out, "w", encoding="utf-8", newline="\n") as f:
        f.write(json.dumps({"vars": VARS, "now": NOW}, separators=(",", ":")) + "\n")
        for case in cases:
            expect = render(case)
            if expect is not None and " at 0x" in expect:
                continue  # Python printed an address
            f.write(line(case, expect))
            n += 1
            errors += expect is None
    print("%d cases, %d of them errors, in %s" % (n, errors, a.out), file=sys.stderr)


if __name__ == "__main__":
    main()
