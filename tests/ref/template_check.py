#!/usr/bin/env python3
"""template_check.py BINARY [--random N] [--seed S]

Runs random templates through jinja2 as transformers sets it up, and through BINARY (build/release/model_test_template --lines), and compares. Needs transformers==5.24.0 and jinja2==3.1.6.
"""
import argparse, json, warnings, random, subprocess, sys, os, datetime

os.environ["TZ"] = "UTC"
import jinja2, transformers
from transformers.utils import chat_template_utils as ctu

assert transformers.__version__ == "5.24.0" and jinja2.__version__ == "3.1.6"
NOW = 1722000000
warnings.simplefilter('ignore')


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.utcfromtimestamp(NOW)


ctu.datetime = Frozen


def reference(template, given, own):
    try:
        names = {**own, **given}
        return ctu._compile_jinja_template(template).render(**names), None
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, KeyError, IndexError, OverflowError, ZeroDivisionError, AttributeError, RecursionError, MemoryError) as e:
        return None, f"{type(e).__name__}: {e}"


class Ours:
    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "TZ": "UTC"})

    def __call__(self, template, given, own):
        line = json.dumps({"template": template, "given": given, "own": own, "now": NOW})
        self.p.stdin.write(line.encode() + b"\n")
        self.p.stdin.flush()
        got = self.p.stdout.readline()
        if not got:
            raise SystemExit(f"the program ended at {line}")
        return json.loads(got)


VALUES = {
    "s": "Hello, World", "t": "  a\tb \n", "u": "Ünïcode ß \u3000x", "e": "", "q": "it's \"q\" <&>", "n": 7, "z": 0, "m": -3, "f": 2.5, "g": 1e-7, "h": 1e22, "b": True, "c": False,
    "l": [3, 1, 2], "k": ["b", "A", "c"], "d": {"a": 1, "b": [1, 2], "items": 5}, "dd": [{"a": 1, "r": "x"}, {"a": 3, "r": "Y"}, {"a": 2}], "w": None, "nest": {"x": {"y": {"z": "deep"}}},
    "big": 9007199254740993, "long": "one two  three\nfour\r\nfive", "mixed": [1, "a", None, True, 2.0, [1], {"k": "v"}],
}
NAMES = list(VALUES) + ["missing"]


class Walk:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def pick(self, *a):
        return self.r.choice(a)

    def atom(self):
        r = self.r
        k = r.random()
        if k < 0.5:
            return r.choice(NAMES)
        if k < 0.65:
            return str(r.choice([0, 1, 2, 3, 5, 10, 100, 1.5, 0.25, 1e3]))
        if k < 0.85:
            return r.choice(["'a'", "'b'", "'abc'", "''", "' x '", '"it\\\'s"', "'\\n'", "'A-b c'", "'%s!'", "'ü'", "'1'", "'12.5'", "'o'", "'a,b,,c'"])
        return r.choice(["true", "false", "none", "[]", "[1, 2]", "['a', 'b']", "{'a': 1}", "(1, 2)", "{}", "()"])

    def expr(self, d):
        r = self.r
        if d <= 0:
            return self.atom()
        k = r.random()
        e = lambda: self.expr(d - 1)
        if k < 0.12:
            return f"{e()} {r.choice(['+', '-', '*', '/', '//', '%', '~', '~', '+'])} {e()}"
        if k < 0.2:
            return f"({e()} {r.choice(['==', '!=', '<', '>', '<=', '>=', 'in', 'not in', 'and', 'or'])} {e()})"
        if k < 0.24:
            return f"(not {e()})"
        if k < 0.28:
            return f"({e()} if {e()} else {e()})"
        if k < 0.30:
            return f"({e()} if {e()})"
        if k < 0.40:
            a = self.pick
            idx = a("[0]", "[-1]", "[1:]", "[:-1]", "[::-1]", "[::2]", "['a']", ".a", ".items", "[5]", "['zz']", ".b", "[1:3]", "[-2:]", ".x.y", "[n]", "[:0]", ".0", "[none:2]")
            if ":" in idx:                           # jinja2 folds a slice of a literal of the wrong type to an undefined value
                return f"{r.choice(NAMES)}{idx}"
            return f"{self.post(d)}{idx}"
        if k < 0.70:
            f = r.choice(["upper", "lower", "title", "capitalize", "trim", "length", "string", "int", "float", "list", "first", "last", "join", "join(', ')", "join('-', 'a')", "tojson",
                          "tojson(indent=2)", "default('D')", "default('D', true)", "d(1)", "replace('a', 'bb')", "replace('l', 'L', 1)", "reverse|list", "sort", "sort(reverse=true)", "unique|list",
                          "sum", "max", "min", "abs", "round", "round(1)", "items|list", "map('upper')|list", "map(attribute='a')|list", "selectattr('a')|list", "selectattr('a', 'defined')|list",
                          "selectattr('r', 'equalto', 'x')|list", "rejectattr('a', 'gt', 1)|list", "select('odd')|list", "select|list", "reject('none')|list", "select('string')|list", "indent(2)", "indent(1, true)",
                          "safe", "wordcount", "center(9)", "dictsort", "batch(2)|list", "slice(2)|list", "format('x')", "count", "map('default', 'q')|list", "tojson(ensure_ascii=true)", "tojson(sort_keys=true)",
                          "map('int')|list", "truncate(8)", "trim('a ')", "urlencode", "groupby('a')", "attr('a')", "map('tojson')|join", "map('length')|list", "dictsort(by='value')", "int(default=5)", "float(1.5)",
                          "sort(attribute='a')", "sum(attribute='a')", "max(attribute='a')", "sort(case_sensitive=true)", "unique(case_sensitive=true)|list", "round(method='floor')", "round(2, 'ceil')", "join(d='+')"])
            return f"{self.post(d)}|{f}"
        if k < 0.80:
            t = r.choice(["defined", "undefined", "none", "string", "number", "mapping", "iterable", "sequence", "true", "false", "boolean", "integer", "float", "odd", "even", "lower", "upper", "in [1, 2, 'a']",
                          "eq 1", "equalto('a')", "divisibleby 2", "callable", "ne 2", "gt 1", "lessthan 3", "ge(1)", "not none", "not defined", "not string"])
            return f"({self.post(d)} is {t})"
        if k < 0.94:
            m = r.choice([".upper()", ".lower()", ".strip()", ".lstrip()", ".rstrip('d')", ".split()", ".split(',')", ".split('l', 1)", ".rsplit('o', 1)", ".rsplit(none, 1)", ".startswith('a')", ".endswith(('d', 'x'))", ".replace('l', '')", ".find('o')",
                          ".count('l')", ".title()", ".capitalize()", ".splitlines()", ".join(['x', 'y'])", ".partition('o')", ".rpartition('o')", ".isdigit()", ".isalpha()", ".zfill(5)", ".ljust(8, '.')", ".center(11)",
                          ".get('a')", ".get('zz', 4)", ".items()", ".keys()", ".values()", ".keys()|list", ".items()|list", ".index(1)", ".swapcase()", ".removeprefix('a')", ".removesuffix('c')", ".islower()", ".isspace()", ".format(1, 2)",
                          ".count(1)", ".rfind('l')", ".append(1)", ".copy()", ".isupper()", ".splitlines(true)", ".strip('aH')", ".rstrip()", ".find('l', 4)", ".startswith('l', 2)", ".nosuch()", ".nosuch"])
            return f"{self.post(d)}{m}"
        if k < 0.96:
            return f"[{e()}, {e()}]"
        if k < 0.98:
            return "{'k': " + e() + "}"
        return f"-{self.post(d)}"

    def post(self, d):
        return self.atom() if self.r.random() < 0.5 else f"({self.expr(d - 1)})"

    def body(self, d):
        r = self.r
        ws = lambda: r.choice(["", "-", "", "+", "-"])
        sp = lambda: r.choice(["", " ", "\n", "  \n  ", "x", "\n\n", " y\n", "\t"])
        out = []
        for _ in range(r.randint(1, 4)):
            k = r.random()
            w = [ws() for _ in range(6)]
            e = self.expr(r.randint(0, 2))
            if k < 0.4 or d <= 0:
                a, b = r.choice(["", "-"]), r.choice(["", "-"])
                out.append("{{" + a + " " + e + " " + b + "}}")
            elif k < 0.5:
                out.append("{%" + w[0] + f" set v{r.randint(0, 2)} = {e} " + r.choice(["", "-", "+"]) + "%}")
            elif k < 0.62:
                out.append("{%" + w[0] + f" if {e} " + w[1] + "%}" + self.body(d - 1) + ("{%" + w[2] + f" elif {self.expr(1)} " + w[3] + "%}" + self.body(d - 1) if r.random() < 0.3 else "")
                           + ("{%" + w[4] + " else " + w[5] + "%}" + self.body(d - 1) if r.random() < 0.5 else "") + "{%" + ws() + " endif " + ws() + "%}")
            elif k < 0.76:
                inner = self.body(d - 1) + r.choice(["", "{{ loop.index }}", "{{ loop.first }}{{ loop.last }}", "{{ loop.previtem }}|{{ loop.nextitem }}", "{{ loop.length }}{{ loop.revindex0 }}", "{{ x }}", "{% if loop.index == 2 %}{% break %}{% endif %}",
                                                     "{% if x %}{% continue %}{% endif %}", "{{ loop.cycle('p', 'q') }}", "{{ loop.changed(x) }}", "{% set v0 = x %}{{ v0 }}"])
                cond = r.choice(["", "", " if x", " if x is defined", " if loop is undefined"])
                target = r.choice(["x", "x", "x", "x, y"])
                src = r.choice([e, "l", "k", "d", "dd", "d.items()", "s", "range(3)", "range(1, 8, 3)", "[[1, 2], [3, 4]]", "mixed", "d|dictsort"])
                out.append("{%" + w[0] + f" for {target} in {src}{cond} " + w[1] + "%}" + inner + ("{%" + w[2] + " else " + w[3] + "%}none" if r.random() < 0.3 else "") + "{%" + w[4] + " endfor " + w[5] + "%}")
            elif k < 0.80:
                out.append("{% set ns = namespace(a=1, b=" + self.expr(1) + ") %}{% for x in l %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.zz }}")
            elif k < 0.86:
                nm = r.choice(["f", "g2"])
                out.append("{%" + w[0] + f" macro {nm}(p, q={self.expr(1)}) " + w[1] + "%}" + self.body(d - 1) + "{{ p }}/{{ q }}" + "{%" + w[2] + " endmacro " + w[3] + "%}{{ " + nm + "(" + r.choice(["1", "", "1, 2", "q=3", "1, q='x'", "1, 2, 3", "zz=1", "*[1, 2]", "**{'p': 4}"]) + ") }}")
            elif k < 0.89:
                out.append("{% set cap " + r.choice(["", "| upper ", "| trim | length "]) + "%}" + self.body(d - 1) + "{% endset %}[{{ cap }}]")
            elif k < 0.92:
                out.append("{%" + w[0] + " generation " + w[1] + "%}" + self.body(d - 1) + "{%" + w[2] + " endgeneration " + w[3] + "%}")
            elif k < 0.94:
                out.append("{#" + r.choice(["", "-"]) + " note " + r.choice(["", "-", "+"]) + "#}")
            elif k < 0.96:
                out.append("{%" + r.choice(["", "-"]) + " raw " + r.choice(["", "-"]) + "%} {{ x }} {%" + w[0] + " endraw " + w[1] + "%}")
            elif k < 0.98:
                out.append("{% with v1 = " + e + ", z = 3 %}{{ v1 }}{{ z }}{% endwith %}{{ v1 }}")
            else:
                out.append("{% filter " + r.choice(["upper", "trim", "replace('a', 'b')", "indent(2)|upper"]) + " %}" + self.body(d - 1) + "{% endfilter %}")
            out.append(sp())
        return sp() + "".join(out)


UNSUPPORTED = -6


def compare(ours, template, given, own, stats, show):
    want, failure = reference(template, given, own)
    got = ours(template, given, own)
    if want is not None and " object at 0x" in want or want is not None and ("<generator" in want or "<bound method" in want or "<built-in" in want or "<function" in want or "<Macro" in want or "<class" in want or "Markup(" in want):
        stats["address"] += 1
        return
    if "error" in got:
        if failure is None and got["status"] == UNSUPPORTED:
            stats["left out"] += 1
            return
        if failure is None:
            stats["wrong"] += 1
            show(template, want, got["error"])
            return
        stats["both fail"] += 1
        return
    if want != got["text"]:
        stats["wrong"] += 1
        show(template, want if want is not None else failure, got["text"])
        return
    stats["equal"] += 1


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("binary", nargs="+")
    ap.add_argument("--random", type=int, default=2000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--show", type=int, default=10)
    a = ap.parse_args()
    ours = Ours(a.binary)
    stats = {"equal": 0, "both fail": 0, "left out": 0, "address": 0, "wrong": 0}
    shown = [0]

    def show(template, want, got):
        shown[0] += 1
        if shown[0] <= a.show:
            print("TEMPLATE", repr(template)[:600], "\n  want", repr(want)[:300], "\n  got ", repr(got)[:300])

    for i in range(a.random):
        w = Walk(a.seed * 1000003 + i)
        t = "{{ " + w.expr(w.r.randint(1, 3)) + " }}" if i % 2 else w.body(2)
        compare(ours, t, VALUES, {"bos_token": "<s>"}, stats, show)
    print(stats)
    return stats["wrong"] != 0


if __name__ == "__main__":
    sys.exit(main())
