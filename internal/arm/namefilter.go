package arm

import (
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// nameFilter is what $filter says of names: the grammar is OData's, as far as Event
// Grid takes it. Names and words are compared without regard to case.
//
//	or    = and *("or" and)
//	and   = unary *("and" unary)
//	unary = "not" unary / "(" or ")" / "contains" "(" "name" "," text ")" / "name" ("eq" / "ne") text
//	text  = "'" *(char / "''") "'"
type nameFilter struct {
	rest  string // what was not read yet
	depth int    // of parentheses and nots
}

// maxFilter bounds a filter, in bytes, and its depth.
const (
	maxFilter      = 2048
	maxFilterDepth = 32
)

// errFilter stands for whatever is wrong with a filter.
var errFilter = fault.New(fault.Invalid, "the filter cannot be read")

// parseNameFilter returns which names a filter lets through: all for an empty one.
func parseNameFilter(text string) (wants func(name string) bool, err error) {
	if strings.TrimSpace(text) == "" {
		return func(string) bool { return true }, nil
	}
	p := &nameFilter{rest: text}
	if len(text) <= maxFilter {
		wants, err = p.or()
	}
	if err != nil || wants == nil || strings.TrimSpace(p.rest) != "" {
		return nil, invalidRequest("$filter %q is not one of this list: use contains(name, '…'), name eq '…', name ne '…', joined by and, or, not", clip(text))
	}
	return wants, nil
}

func (p *nameFilter) or() (func(string) bool, error) {
	left, err := p.and()
	for err == nil && p.word("or") {
		var right func(string) bool
		if right, err = p.and(); err == nil {
			first := left
			left = func(name string) bool { return first(name) || right(name) }
		}
	}
	return left, err
}

func (p *nameFilter) and() (func(string) bool, error) {
	left, err := p.unary()
	for err == nil && p.word("and") {
		var right func(string) bool
		if right, err = p.unary(); err == nil {
			first := left
			left = func(name string) bool { return first(name) && right(name) }
		}
	}
	return left, err
}

func (p *nameFilter) unary() (func(string) bool, error) {
	if p.depth++; p.depth > maxFilterDepth {
		return nil, errFilter
	}
	defer func() { p.depth-- }()
	switch {
	case p.word("not"):
		inner, err := p.unary()
		return func(name string) bool { return !inner(name) }, err
	case p.sign("("):
		inner, err := p.or()
		if err != nil || !p.sign(")") {
			return nil, errFilter
		}
		return inner, nil
	case p.word("contains"):
		if !p.sign("(") || !p.word("name") || !p.sign(",") {
			return nil, errFilter
		}
		part, ok := p.text()
		if !ok || !p.sign(")") {
			return nil, errFilter
		}
		part = strings.ToLower(part)
		return func(name string) bool { return strings.Contains(strings.ToLower(name), part) }, nil
	case p.word("name"):
		equal := p.word("eq")
		if !equal && !p.word("ne") {
			return nil, errFilter
		}
		whole, ok := p.text()
		if !ok {
			return nil, errFilter
		}
		return func(name string) bool { return strings.EqualFold(name, whole) == equal }, nil
	}
	return nil, errFilter
}

// word reads a word, if it is next.
func (p *nameFilter) word(word string) bool {
	rest := strings.TrimLeft(p.rest, " ")
	if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return false
	}
	if after := rest[len(word):]; after != "" && !strings.ContainsRune(" (),'", rune(after[0])) {
		return false // a longer word
	}
	p.rest = rest[len(word):]
	return true
}

func (p *nameFilter) sign(sign string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), sign)
	if ok {
		p.rest = rest
	}
	return ok
}

// text reads a text in quotes, in which two quotes stand for one.
func (p *nameFilter) text() (string, bool) {
	rest, ok := strings.CutPrefix(strings.TrimLeft(p.rest, " "), "'")
	if !ok {
		return "", false
	}
	var b strings.Builder
	for {
		part, after, closed := strings.Cut(rest, "'")
		if !closed {
			return "", false
		}
		b.WriteString(part)
		if rest, ok = strings.CutPrefix(after, "'"); !ok {
			p.rest = after
			return b.String(), true
		}
		b.WriteByte('\'')
	}
}
