// Package signature signs requests and verifies them, so that a receiver can
// tell that a request comes from who shares a secret with it.
//
// It owns the scheme of Standard Webhooks (symmetric, version 1) with its header
// fields and its secrets, and the two simpler formats that some receivers know.
// Which requests are signed, with which secrets and in which formats, is for
// package webhook. Invariants: signatures are compared in constant time, and
// neither an error nor the printed form of a Secret has a secret in it.
package signature

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// The header fields of Standard Webhooks ("Webhook Headers"), as package
// net/http writes them.
const (
	IDField        = "Webhook-Id"        // names the message; the same at each attempt
	TimestampField = "Webhook-Timestamp" // of the attempt, in seconds since 1970
	SignatureField = "Webhook-Signature" // one signature or several, with blanks between
)

// How long a secret is, in bytes (Standard Webhooks, "Signature scheme").
const (
	MinSecret = 24
	MaxSecret = 64
	newSecret = 32 // ours
)

const (
	prefix  = "whsec_"
	version = "v1"
)

// Secret is what both sides share. The zero Secret is none: it must not sign.
// Printing one shows that it is one, and no more.
type Secret struct {
	// Pointers, so that even printing the fields of a struct which hides its
	// Secret in an unexported field shows addresses.
	text *string // whsec_ and the base64 of key
	key  *string // bytes
}

// New makes a secret of random bytes.
func New() Secret {
	key := make([]byte, newSecret)
	rand.Read(key)
	return Of(key)
}

// Of returns the secret that has these bytes, MinSecret to MaxSecret of them.
func Of(key []byte) Secret {
	return Secret{new(prefix + base64.StdEncoding.EncodeToString(key)), new(string(key))}
}

// Parse reads a secret as Reveal writes it: whsec_ and the base64 of MinSecret
// to MaxSecret bytes. Its errors are fault.Invalid and do not repeat text.
func Parse(text string) (Secret, error) {
	const rule = "write whsec_ and the base64 of 24 to 64 random bytes, for example whsec_$(openssl rand -base64 32)"
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return Secret{}, fault.New(fault.Invalid, "the signing secret does not begin with whsec_: %s", rule)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded { // the decoder passes over line breaks
		return Secret{}, fault.New(fault.Invalid, "the signing secret is not base64 after whsec_: %s", rule)
	}
	if len(key) < MinSecret || len(key) > MaxSecret {
		return Secret{}, fault.New(fault.Invalid, "the signing secret has %d bytes: %s", len(key), rule)
	}
	return Secret{&text, new(string(key))}, nil
}

// Reveal returns the secret as text, or nothing for the zero Secret.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return *s.text
}

// IsZero reports whether s is the zero Secret.
func (s Secret) IsZero() bool { return s.text == nil }

// Format prints whsec_[redacted], whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, s.redacted()) }

// MarshalText returns what Format prints; JSON and package log/slog use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }

func (s Secret) redacted() string {
	if s.IsZero() {
		return ""
	}
	return prefix + "[redacted]"
}

// Timestamp returns a moment as TimestampField has it.
func Timestamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// Sign returns the value of SignatureField for a message: a signature by each of
// the secrets, in their order. timestamp is the value of TimestampField. The id
// must have no dot in it, because dots part what is signed.
func Sign(id, timestamp string, body []byte, secrets ...Secret) string {
	size := len(version) + 1 + base64.StdEncoding.EncodedLen(sha256.Size)
	value := make([]byte, 0, len(secrets)*(size+1))
	for i, s := range secrets {
		if i > 0 {
			value = append(value, ' ')
		}
		value = append(value, version...)
		value = append(value, ',')
		value = base64.StdEncoding.AppendEncode(value, s.mac(id, timestamp, body))
	}
	return string(value)
}

// mac authenticates id.timestamp.body.
func (s Secret) mac(id, timestamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(*s.key))
	head := make([]byte, 0, 128)
	head = append(head, id...)
	head = append(head, '.')
	head = append(head, timestamp...)
	head = append(head, '.')
	mac.Write(head)
	mac.Write(body)
	return mac.Sum(head[:0])
}

// Style is a way to sign that some receivers know instead of Standard Webhooks:
// the hex HMAC-SHA256 of the body. Its key is the text of the secret, whsec_
// included, because such receivers are given their secret as text. It says
// nothing of when it was made, so whoever sees a request can repeat it.
type Style string

// The styles.
const (
	GitHub Style = "github" // X-Hub-Signature-256: sha256=…
	Flux   Style = "flux"   // X-Signature: sha256=…, for Flux's generic-hmac receiver
)

// ParseStyle reads a style's name, in any case. It fails with fault.Invalid.
func ParseStyle(name string) (Style, error) {
	switch style := Style(strings.ToLower(name)); style {
	case GitHub, Flux:
		return style, nil
	}
	return "", fault.New(fault.Invalid, "signature header %q is none this server sends: use github or flux", clip(name))
}

// Field returns the name of the header field, as package net/http writes it.
func (style Style) Field() string {
	switch style {
	case GitHub:
		return "X-Hub-Signature-256"
	case Flux:
		return "X-Signature"
	}
	panic("signature: no such style: " + string(style))
}

// SignText returns the value of a Style's header field, which is the same for
// all of them.
func SignText(body []byte, s Secret) string {
	mac := hmac.New(sha256.New, []byte(*s.text))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// VerifyText reports whether value is what SignText returns for one of the
// secrets.
func VerifyText(value string, body []byte, secrets ...Secret) (signed bool) {
	for _, s := range secrets {
		if hmac.Equal([]byte(value), []byte(SignText(body, s))) {
			signed = true
		}
	}
	return signed
}

// clip shortens a value for a message.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
