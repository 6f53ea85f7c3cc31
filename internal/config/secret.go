package config

import "log/slog"

// Secret is a text that is kept out of logs, errors and listings: whatever
// prints it prints Redacted, or nothing where it is empty. Reveal returns it.
type Secret struct {
	// A pointer, so that even printing the fields of a struct which hides its
	// Secret in an unexported field shows an address.
	text *string
}

// Redacted stands for a secret in whatever is printed.
const Redacted = "[redacted]"

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{&text} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret, or an empty one.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns Redacted, or nothing.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// GoString returns what String returns, quoted.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue returns what String returns.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String returns; JSON, YAML and XML use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
