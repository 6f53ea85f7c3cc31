package filter

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// fold returns s so that texts are equal without regard to case if and only if what
// it returns of them is (Unicode's simple folding). What is ASCII in lower case is
// returned as it is.
func fold(s string) string { return strings.Map(foldRune, s) }

// foldRune returns the one of a character and those that differ from it in case that
// stands for them all: the ASCII letter in lower case if one is among them, else the
// least.
func foldRune(r rune) rune {
	if r < utf8.RuneSelf {
		return lower(r)
	}
	least := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	return lower(least)
}

func lower(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
