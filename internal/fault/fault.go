// Package fault is the closed set of ways in which a request can fail.
//
// It owns the kinds, and nothing else: which protocol status or code a kind
// becomes is decided by each face (ociserver, acrserver, arm, cli). Domain code
// returns faults; a plain error that reaches a face is a bug or a broken
// machine, and is shown to people as an internal error.
//
// Invariant: the Message of a fault is safe to show to whoever made the
// request. It holds no secret, no address the caller did not give, no internal
// name. The cause, in Err, is for the log.
package fault

import (
	"errors"
	"fmt"
)

// Kind says what went wrong, in terms a face can translate.
type Kind uint8

// The kinds, closed: adding one means teaching every face.
const (
	Internal        Kind = iota // a bug or a broken machine
	Invalid                     // the request breaks a rule
	Unauthenticated             // no credentials, or wrong ones
	Denied                      // known caller, not allowed
	NotFound                    // the named thing does not exist
	Conflict                    // the state of the thing forbids it
	OutOfRange                  // offset or range does not fit the content
	TooLarge                    // beyond a size limit
	Quota                       // beyond a tier's limit
	Unsupported                 // understood, and not offered
	NoSpace                     // the disk is full
	Unavailable                 // not now; the same request may succeed later
)

var kindNames = [...]string{
	"internal", "invalid", "unauthenticated", "denied", "not found", "conflict",
	"out of range", "too large", "quota", "unsupported", "no space", "unavailable",
}

// String returns the kind as a word for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is a failure with a kind and a sentence for people.
type Error struct {
	Kind Kind

	// Code is the code of the contract the failed call belongs to, for example
	// BLOB_UNKNOWN (OCI) or QuotaExceeded (ARM). Empty means the face's
	// default for Kind.
	Code string

	// Message is one sentence: what was refused, the value, the rule, the way
	// out. Lower case, no full stop needed.
	Message string

	// Detail is optional machine-readable detail; it must marshal to JSON.
	Detail any

	// Err is the cause, for errors.Is and for the log; never shown to callers.
	Err error
}

// New makes a fault whose message is formatted like fmt.Sprintf.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes a fault that keeps cause for the log and for errors.Is.
func Wrap(cause error, kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: cause}
}

// WithCode returns e with the contract's code set.
func (e *Error) WithCode(code string) *Error { e.Code = code; return e }

// WithDetail returns e with detail set.
func (e *Error) WithDetail(detail any) *Error { e.Detail = detail; return e }

// Error returns the message, followed by the cause where there is one: the form
// for logs. Faces show Message alone.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// As returns the first fault in err's chain. An error without one becomes an
// Internal fault whose message says nothing of the cause.
func As(err error) *Error {
	if err == nil {
		return nil
	}
	var f *Error
	if errors.As(err, &f) {
		return f
	}
	return &Error{Kind: Internal, Message: "internal error: the server's log has the details", Err: err}
}

// Is reports whether err is a fault of the given kind.
func Is(err error, kind Kind) bool {
	var f *Error
	return errors.As(err, &f) && f.Kind == kind
}
