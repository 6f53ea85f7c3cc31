package chart

import (
	"fmt"

	"github.com/dockbell/dockbell/internal/fault"
)

// The codes of this package's faults. CodeNotFound is ACR's; the others are ours.
const (
	CodeNotFound = "CHART_NOT_FOUND"      // kind NotFound
	CodeExists   = "CHART_ALREADY_EXISTS" // kind Conflict
	CodeInvalid  = "CHART_INVALID"        // kinds Invalid, TooLarge
	CodeQuota    = "CHART_QUOTA_EXCEEDED" // kind Quota
)

func notFound(format string, args ...any) error {
	return fault.New(fault.NotFound, format, args...).WithCode(CodeNotFound)
}

func chartNotFound(name string) error {
	return notFound("there is no chart %q in this repository", clip(name))
}

func fileNotFound(file string) error {
	return notFound("there is no file %q in this chart repository", clip(file))
}

func exists(file string) error {
	return fault.New(fault.Conflict, "%s exists already: push another version, or overwrite it (az acr helm push --force, or PATCH in place of PUT)", file).
		WithCode(CodeExists)
}

// invalid says what is wrong with what was sent.
func invalid(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).WithCode(CodeInvalid)
}

// badPackage says why a package cannot be one.
func badPackage(format string, args ...any) error {
	return invalid("the package is not valid: %s", fmt.Sprintf(format, args...))
}

func tooLarge(format string, args ...any) error {
	return fault.New(fault.TooLarge, format, args...).WithCode(CodeInvalid)
}

// clip shortens hostile input for a message.
func clip(s string) string {
	const limit = 80
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
