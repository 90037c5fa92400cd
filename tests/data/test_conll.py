"""CoNLL and CoNLL-U: sentences, the column of the tags, and errors that name the row."""

from __future__ import annotations

import pytest

from tinygrad_rnn.data.conll import parse_conll
from tinygrad_rnn.data.tables import TableError

UNIVERSAL = (
    "# text = vámonos al mar\n"
    "1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n"
    "1\tvamos\tir\tVERB\tV\t_\t0\troot\t_\t_\n"
    "2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_\n"
    "2.1\tya\tya\tADV\tA\t_\t_\t_\t_\t_\n"
    "\n"
    "1\tNew York\tNew York\tPROPN\tN\t_\t0\troot\t_\t_\n"
)


def test_conll_2003() -> None:
    text = "-DOCSTART- -X- O O\n\nEU NNP I-NP B-ORG\nsays VBZ I-VP O\n\n\n\nPeter NNP I-NP B-PER\n"
    assert parse_conll(text, "x") == [[("EU", "B-ORG"), ("says", "O")], [("Peter", "B-PER")]]
    assert parse_conll(text, "x", "2") == [[("EU", "NNP"), ("says", "VBZ")], [("Peter", "NNP")]]
    assert parse_conll("a\nb\n\nc\n", "x", tagged=False) == [[("a", ""), ("b", "")], [("c", "")]]


def test_conll_u_leaves_out_what_is_no_word() -> None:
    words = [[("vamos", "VERB"), ("nos", "PRON")], [("New York", "PROPN")]]
    assert parse_conll(UNIVERSAL, "x.conllu") == words
    tags = [[tag for _, tag in s] for s in parse_conll(UNIVERSAL, "x.conllu", "deprel")]
    assert tags == [["root", "obj"], ["root"]]
    assert parse_conll(UNIVERSAL, "x.conllu", "4") == words


@pytest.mark.parametrize(
    ("text", "name", "column", "message"),
    [
        ("a X\nb\n", "x", "", "x: row 2 has 1 column; expected 2, as the first row has"),
        ("a\nb\n", "x", "", "x: row 1 has 1 column; expected a word and a tag"),
        ("a X\n", "x", "3", "x: row 1 has no column 3: it has 2"),
        ("a X\n", "x", "upos", "`column`: expected a number from 1 on, not 'upos'"),
        ("a X\n", "x", "0", "`column`: expected a number from 1 on, not '0'"),
        (UNIVERSAL, "x.conllu", "tag", "`column`: expected one of lemma, upos,"),
        (UNIVERSAL, "x.conllu", "feats", "x.conllu: row 3, column feats: missing tag"),
        ("1 a b\n", "x.conllu", "", "x.conllu: row 1 has 1 column; CoNLL-U has 10, with tabs"),
        ("\n\n", "x", "", "x has no sentences"),
    ],
)
def test_errors(text: str, name: str, column: str, message: str) -> None:
    with pytest.raises(TableError) as caught:
        parse_conll(text, name, column)
    assert str(caught.value).startswith(message)
