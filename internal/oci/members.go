package oci

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// Readers of JSON disagree about a member that occurs twice (first wins, last
// wins) and about one in another case (Go's encoding/json takes "Config" for
// config, most others do not). A manifest that uses either means one thing to
// this registry and another to the client that pulls it, so it is refused:
// what was checked here is what everyone reads.

// shape names the members that some reader gives a meaning in one kind of
// object, with the shape of what they hold; an array has the shape of its
// elements. Where there is no shape, in annotations and in members of others'
// making, names are free but must still differ.
type shape map[string]shape

var (
	platformShape = shape{
		"architecture": nil, "os": nil, "os.version": nil, "os.features": nil, "variant": nil, "features": nil,
	}
	descriptorShape = shape{
		"mediaType": nil, "digest": nil, "size": nil, "urls": nil, "annotations": nil, "data": nil,
		"artifactType": nil, "platform": platformShape,
	}
	manifestShape = shape{
		"schemaVersion": nil, "mediaType": nil, "artifactType": nil, "annotations": nil, "fsLayers": nil,
		"config": descriptorShape, "layers": descriptorShape, "blobs": descriptorShape,
		"manifests": descriptorShape, "subject": descriptorShape,
	}
)

// checkMembers refuses a manifest with ambiguous member names. data must be
// valid JSON: json.Unmarshal took it, which also limits how deep it nests.
func checkMembers(data []byte) error {
	r := memberReader{data: data}
	return r.value(manifestShape)
}

// memberReader walks over valid JSON. It is written by hand because a walk with
// json.Decoder costs more than all the rest of taking a manifest.
type memberReader struct {
	data []byte
	pos  int
}

func (r *memberReader) value(s shape) error {
	switch r.peek() {
	case '{':
		return r.object(s)
	case '[':
		r.pos++
		for r.peek() != ']' {
			if err := r.value(s); err != nil {
				return err
			}
			r.skip(',')
		}
		r.pos++
	case '"':
		r.text()
	default: // a number or a literal
		for r.pos < len(r.data) && !strings.ContainsRune(",]} \t\r\n", rune(r.data[r.pos])) {
			r.pos++
		}
	}
	return nil
}

func (r *memberReader) object(s shape) error {
	r.pos++
	seen := make(map[string]bool, 8)
	for r.peek() != '}' {
		name := r.text()
		if seen[name] {
			return ManifestInvalid("member %q occurs twice", clip(name))
		}
		seen[name] = true
		if err := s.check(name); err != nil {
			return err
		}
		r.skip(':')
		if err := r.value(s[name]); err != nil {
			return err
		}
		r.skip(',')
	}
	r.pos++
	return nil
}

// text reads a string.
func (r *memberReader) text() string {
	start := r.pos
	plain := true
	for r.pos++; r.data[r.pos] != '"'; r.pos++ {
		if c := r.data[r.pos]; c == '\\' {
			plain = false
			r.pos++
		} else if c >= utf8.RuneSelf {
			plain = false // it may be broken UTF-8, which json.Unmarshal mends
		}
	}
	r.pos++
	if plain {
		return string(r.data[start+1 : r.pos-1])
	}
	var text string
	if err := json.Unmarshal(r.data[start:r.pos], &text); err != nil {
		panic("oci: string in valid JSON: " + err.Error())
	}
	return text
}

// peek returns the first byte of what comes next.
func (r *memberReader) peek() byte {
	for {
		switch c := r.data[r.pos]; c {
		case ' ', '\t', '\r', '\n':
			r.pos++
		default:
			return c
		}
	}
}

// skip passes over a separator, where there is one.
func (r *memberReader) skip(separator byte) {
	if r.peek() == separator {
		r.pos++
		r.peek()
	}
}

// check refuses a name that a lax reader takes for a member of the shape.
func (s shape) check(name string) error {
	if _, ok := s[name]; ok {
		return nil
	}
	for member := range s {
		if strings.EqualFold(name, member) {
			return ManifestInvalid("member %q must be written %q", clip(name), member)
		}
	}
	return nil
}
