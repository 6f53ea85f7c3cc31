// Package oci holds the words of the OCI Distribution and Image specifications
// that everyone in this program speaks: names, digests, references,
// descriptors, manifests, the error codes, and the interface Registry.
//
// It owns the grammar (what is a valid name, tag, digest, manifest) and leaves
// storage to package registry, HTTP to package ociserver and permission to
// package auth. Invariant: a Repository, Tag or Digest that is not empty is
// valid, because the only way to make one from outside text is to parse it.
//
// Standards: OCI Distribution Specification 1.1, OCI Image Specification 1.1,
// and Docker Image Manifest v2 schema 2.
package oci

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"strings"
)

// Repository is the name of a repository within a registry, for example
// team/web-frontend. Grammar: Distribution 1.1, "Pulling manifests":
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*,
// at most MaxRepositoryLength bytes.
type Repository string

// Tag names a manifest in a repository: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
type Tag string

// MaxRepositoryLength is the longest repository name taken, in bytes. Clients
// limit host and name together to 255.
const MaxRepositoryLength = 255

// MaxTagLength is the longest tag, in bytes (Distribution 1.1).
const MaxTagLength = 128

// ParseRepository checks s against the grammar. It fails with NAME_INVALID.
func ParseRepository(s string) (Repository, error) {
	if why := repositoryProblem(s); why != "" {
		return "", NameInvalid(s, why)
	}
	return Repository(s), nil
}

func repositoryProblem(s string) string {
	if s == "" {
		return "it is empty"
	}
	if len(s) > MaxRepositoryLength {
		return "it is longer than 255 characters"
	}
	for part := range strings.SplitSeq(s, "/") {
		if !validPathComponent(part) {
			return "each part between slashes needs lower-case letters and digits, with single '.', '_', '__' or dashes between them"
		}
	}
	return ""
}

// validPathComponent matches [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func validPathComponent(s string) bool {
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	if s == "" || !alnum(s[0]) || !alnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if alnum(s[i]) {
			i++
			continue
		}
		sep := i
		for i < len(s) && s[i] == s[sep] {
			i++
		}
		switch n := i - sep; s[sep] {
		case '.':
			if n != 1 {
				return false
			}
		case '_':
			if n > 2 {
				return false
			}
		case '-':
		default:
			return false
		}
		if !alnum(s[i]) { // s ends in an alphanumeric, so i is in range
			return false
		}
	}
	return true
}

// ParseTag checks s against the tag grammar. It fails with MANIFEST_INVALID,
// for a tag is only ever given where a manifest is meant.
func ParseTag(s string) (Tag, error) {
	if !validTag(s) {
		return "", TagInvalid(s)
	}
	return Tag(s), nil
}

func validTag(s string) bool {
	if s == "" || len(s) > MaxTagLength {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case c == '.' || c == '-':
			if i == 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// Digest is a content digest in the form algorithm:hex, for example
// sha256:9f86d0…. Algorithms: sha256 and sha512 (Image 1.1, "Registered
// algorithms").
type Digest string

// The algorithms taken.
const (
	SHA256 = "sha256"
	SHA512 = "sha512"
)

// ParseDigest checks s. It fails with DIGEST_INVALID, which says whether the
// algorithm or the encoding is the matter.
func ParseDigest(s string) (Digest, error) {
	algorithm, encoded, ok := strings.Cut(s, ":")
	if !ok {
		return "", DigestInvalid(s, "it has no ':' between algorithm and value")
	}
	var want int
	switch algorithm {
	case SHA256:
		want = sha256.Size * 2
	case SHA512:
		want = sha512.Size * 2
	default:
		return "", DigestInvalid(s, "the algorithm is neither sha256 nor sha512")
	}
	if len(encoded) != want {
		return "", DigestInvalid(s, "its value has the wrong length for "+algorithm)
	}
	for i := range len(encoded) {
		if c := encoded[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", DigestInvalid(s, "its value is not lower-case hexadecimal")
		}
	}
	return Digest(s), nil
}

// Algorithm returns the part before the colon.
func (d Digest) Algorithm() string { a, _, _ := strings.Cut(string(d), ":"); return a }

// Encoded returns the part after the colon.
func (d Digest) Encoded() string { _, e, _ := strings.Cut(string(d), ":"); return e }

// Hash returns a new hash of the digest's algorithm.
func (d Digest) Hash() hash.Hash { return NewHash(d.Algorithm()) }

// NewHash returns a new hash for SHA256 or SHA512.
func NewHash(algorithm string) hash.Hash {
	if algorithm == SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

// DigestOf returns the digest that the sum of a finished hash stands for.
func DigestOf(algorithm string, sum []byte) Digest {
	return Digest(algorithm + ":" + hex.EncodeToString(sum))
}

// FromBytes returns the digest of content under algorithm.
func FromBytes(algorithm string, content []byte) Digest {
	if algorithm == SHA512 {
		sum := sha512.Sum512(content)
		return DigestOf(SHA512, sum[:])
	}
	sum := sha256.Sum256(content)
	return DigestOf(SHA256, sum[:])
}

// Reference names a manifest in a repository, by tag or by digest: exactly one
// of the two is set.
type Reference struct {
	Tag    Tag
	Digest Digest
}

// ParseReference reads the last part of /v2/<name>/manifests/<reference>: a
// digest if it has a colon, else a tag.
func ParseReference(s string) (Reference, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Reference{Digest: d}, err
	}
	t, err := ParseTag(s)
	return Reference{Tag: t}, err
}

// String returns the tag or the digest.
func (r Reference) String() string {
	if r.Digest != "" {
		return string(r.Digest)
	}
	return string(r.Tag)
}
