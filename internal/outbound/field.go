package outbound

import "strings"

// IsToken reports whether s can be the name of a header field: a token of RFC 9110,
// section 5.6.2.
func IsToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

// IsFieldValue reports whether s can be the value of one: it has no line break, nor
// another control character.
func IsFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}
