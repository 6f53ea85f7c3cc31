package auth

import "cmp"

// Cause says why a login was refused, in words for the audit log.
type Cause string

// The causes.
const (
	WrongPassword Cause = "wrong password"
	LockedOut     Cause = "too many wrong passwords, so it was not looked at"
	ForgedToken   Cause = "token not signed by this server"          // wrong signature, algorithm or key
	MisusedToken  Cause = "token of this server for something else"  // another audience, or kind
	ExpiredToken  Cause = "expired token"                            // or one not good yet; not reported
	EndedToken    Cause = "token of a password that is none anymore" // not reported
)

// Failure is a login that was refused, for the audit log. Tokens that have
// expired, or whose password has changed, are none: clients present them in good
// faith until they are told.
type Failure struct {
	Registry int64 // 0: of the control plane

	// User is the user name that was given, if an account has it or it is shaped
	// like an appId. Any other is left out: what people type into the wrong field
	// is often a password, and a log is read by more people than may know it.
	User string
	Kind Kind // of the account that has that name, or would have; Nobody without a name

	Client string // as http.Request.RemoteAddr has it
	Cause  Cause
}

// failed reports a refusal to whoever keeps the audit log.
func (a *Authority) failed(f Failure) {
	if a.report != nil && f.Cause != ExpiredToken && f.Cause != EndedToken {
		f.Kind = cmp.Or(f.Kind, Nobody)
		a.report(f)
	}
}
