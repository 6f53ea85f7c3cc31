package webhook

import (
	"strings"

	"github.com/dockbell/dockbell/internal/event"
	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/oci"
)

// scope says which repositories and tags a webhook is about.
//
//	(empty)   every event of the registry
//	repo:*    every event of the repository, whether it names a tag or not
//	repo:tag  events that name this tag
//	repo      the same as repo:latest
//
// A * at the end stands for any rest: in the repository part (team/*:*), in the
// tag part (repo:v1*), or in both. A tag part other than the bare * matches only
// events that name a tag, so neither a push by digest nor a delete.
type scope struct {
	everything bool
	repository pattern
	tag        pattern
	anyTag     bool // the tag part is the bare *
}

// pattern is a text, or the beginning of one.
type pattern struct {
	text   string
	prefix bool
}

func (p pattern) matches(s string) bool {
	if p.prefix {
		return strings.HasPrefix(s, p.text)
	}
	return s == p.text
}

// matches reports whether an event with this target is in the scope.
func (s scope) matches(t event.Target) bool {
	switch {
	case s.everything:
		return true
	case !s.repository.matches(t.Repository):
		return false
	case s.anyTag:
		return true
	}
	return t.Tag != "" && s.tag.matches(t.Tag)
}

// parseScope reads a scope as it was sent.
func parseScope(text string) (scope, error) {
	if text == "" {
		return scope{everything: true}, nil
	}
	repository, tag, hasTag := strings.Cut(text, ":")
	switch {
	case !hasTag && strings.Contains(text, "*"):
		return scope{}, scopeInvalid(text, "a * in the repository needs a colon and a tag after it")
	case !hasTag:
		tag = "latest"
	case repository == "*" && tag == "*":
		return scope{}, scopeInvalid(text, "every event of the registry is the empty scope")
	}
	s := scope{anyTag: tag == "*"}
	s.repository.text, s.repository.prefix = strings.CutSuffix(repository, "*")
	s.tag.text, s.tag.prefix = strings.CutSuffix(tag, "*")
	if !begins(s.repository, oci.ParseRepository) {
		return scope{}, scopeInvalid(text, "before the colon there is no repository name (lower-case letters, digits, '.', '_', '-', with slashes between the parts)")
	}
	if !begins(s.tag, oci.ParseTag) {
		return scope{}, scopeInvalid(text, "after the colon there is no tag (letters, digits, '_', '.', '-')")
	}
	return s, nil
}

// begins reports whether parse takes p's text or, for a prefix, any text that
// begins so.
func begins[T any](p pattern, parse func(string) (T, error)) bool {
	text := p.text
	if p.prefix {
		text += "a" // a good ending for every beginning of a name or tag
	}
	_, err := parse(text)
	return err == nil
}

func scopeInvalid(text, why string) error {
	return fault.New(fault.Invalid, "scope %q is not valid: %s; use repo:tag, repo:* for every event of a repository, repo for repo:latest, a * at the end of either part as in team/*:* or repo:v1*, or leave it empty for every event of the registry",
		clip(text), why)
}

// clip shortens a value for a message.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
