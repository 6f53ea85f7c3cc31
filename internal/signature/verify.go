package signature

import (
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// Tolerance is how far the clocks of sender and receiver, and the way between
// them, may part a timestamp from now (Standard Webhooks, "Verifying webhook
// authenticity").
const Tolerance = 5 * time.Minute

// Verify checks that a message was signed with one of the secrets, in version 1
// of Standard Webhooks, and not more than tolerance away from now; a tolerance
// of 0 or less takes any time, for requests that were kept. It returns a
// fault.Invalid that says what is wrong: which header field is missing or cannot
// be read, that no signature matches and what was tried, or by how much a
// message with a good signature is too old or too new.
func Verify(header http.Header, body []byte, now time.Time, tolerance time.Duration, secrets ...Secret) error {
	m, err := read(header)
	if err != nil {
		return err
	}
	if !m.signedBy(secrets, body) {
		return fault.New(fault.Invalid, "no signature matches: tried %s of the request with %s; the secret is another, or the body is not, byte for byte, what was signed",
			count(len(m.signatures), "signature"), count(len(secrets), "secret"))
	}
	if age := now.Sub(m.at); tolerance > 0 && age.Abs() > tolerance {
		when := "ago"
		if age < 0 {
			when = "in the future"
		}
		return fault.New(fault.Invalid, "the signature is right, but it was made %s %s (%s): %s is allowed, so that nobody can send an old request again",
			age.Abs().Round(time.Second), when, m.at.UTC().Format(time.RFC3339), tolerance)
	}
	return nil
}

// message is what is read from the header.
type message struct {
	id         string
	timestamp  string // as sent: it is signed so
	at         time.Time
	signatures []string // of version 1, in base64
}

// The header fields as people write them.
const (
	idName        = "webhook-id"
	timestampName = "webhook-timestamp"
	signatureName = "webhook-signature"
)

func read(header http.Header) (m message, err error) {
	m.id, m.timestamp = header.Get(IDField), header.Get(TimestampField)
	signatures := header.Get(SignatureField)
	var missing []string
	for _, field := range []struct{ name, value string }{{idName, m.id}, {timestampName, m.timestamp}, {signatureName, signatures}} {
		if field.value == "" {
			missing = append(missing, field.name)
		}
	}
	if len(missing) > 0 {
		return m, fault.New(fault.Invalid, "the request has no %s: a signed one has webhook-id, webhook-timestamp and webhook-signature", strings.Join(missing, " and no "))
	}
	if strings.Contains(m.id, ".") {
		return m, fault.New(fault.Invalid, "webhook-id %q has a dot: dots part what is signed, so an id with one proves nothing", clip(m.id))
	}
	seconds, err := strconv.ParseInt(m.timestamp, 10, 64)
	if err != nil || strconv.FormatInt(seconds, 10) != m.timestamp {
		return m, fault.New(fault.Invalid, "webhook-timestamp %q is not a number of seconds since 1970", clip(m.timestamp))
	}
	m.at = time.Unix(seconds, 0)
	for text := range strings.FieldsSeq(signatures) {
		// Other versions may stand beside ours ("Signature scheme").
		if v, sum, ok := strings.Cut(text, ","); ok && v == version {
			m.signatures = append(m.signatures, sum)
		}
	}
	if len(m.signatures) == 0 {
		return m, fault.New(fault.Invalid, "webhook-signature %q has no signature of version 1: one looks like v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", clip(signatures))
	}
	return m, nil
}

// signedBy looks at all signatures and secrets, whichever matches.
func (m message) signedBy(secrets []Secret, body []byte) (signed bool) {
	for _, s := range secrets {
		want := []byte(base64.StdEncoding.EncodeToString(s.mac(m.id, m.timestamp, body)))
		for _, got := range m.signatures {
			if hmac.Equal([]byte(got), want) {
				signed = true
			}
		}
	}
	return signed
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
