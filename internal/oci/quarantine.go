package oci

import (
	"context"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// Quarantine holds images back until someone has found them good: ACR's
// quarantineState and quarantineDetails. Which registries have it, and who sees
// what is in it, a handle knows. Where it is on, a manifest that has not Passed is
// in nobody's tags; whoever may not see it gets REGISTRY_DISALLOWED_OPERATION for
// its digest, and finds it in no list.
type Quarantine interface {
	// SetQuarantine says what was found of a manifest, and returns what
	// DescribeManifest would. A state holds for what the manifest lists and for
	// what refers to any of these as well. With Passed the tags that waited for
	// them move, and the push event of each push that waited is recorded, all in
	// one transaction. It fails with MANIFEST_UNKNOWN or NAME_UNKNOWN, and with
	// REGISTRY_DISALLOWED_OPERATION where a tag that would move is locked.
	SetQuarantine(ctx context.Context, repo Repository, dgst Digest, change QuarantineChange) (ManifestDetails, error)
}

// QuarantineState is what was decided of a manifest.
type QuarantineState string

// The states. Undecided is that of a manifest that nobody has looked at; where
// quarantine is on, it is Quarantined.
const (
	Undecided   QuarantineState = ""
	Quarantined QuarantineState = "Quarantined"
	Passed      QuarantineState = "Passed"
	Failed      QuarantineState = "Failed"
)

// ParseQuarantineState reads a state that can be set, in any case. It fails with
// fault.Invalid.
func ParseQuarantineState(text string) (QuarantineState, error) {
	for _, state := range []QuarantineState{Passed, Failed, Quarantined} {
		if strings.EqualFold(text, string(state)) {
			return state, nil
		}
	}
	return Undecided, fault.New(fault.Invalid, "quarantineState %q is none: use Passed, Failed or Quarantined", clip(text)).WithCode(CodeUnsupported)
}

// QuarantineChange is what was found of a manifest.
type QuarantineChange struct {
	State   QuarantineState // Undecided: stays
	Details *string         // of the manifest alone: what was found, JSON in the form that ACR has for it; empty: nothing; nil: stays

	// Attributes that get another value along with it. These hold for the manifest
	// alone.
	Attributes AttributesChange
}

// InQuarantine says that a manifest is held back, whatever its state. To who only
// asks for a manifest it is not there: so the kind is NotFound, on which clients that
// push go on and push it.
func InQuarantine(repo Repository, dgst Digest) error {
	return fault.New(fault.NotFound, "the operation is disallowed: manifest %s of %s is in quarantine, until someone with the role AcrQuarantineWriter marks it as Passed", dgst, repo).
		WithCode(CodeDisallowed).WithDetail(map[string]string{"name": string(repo), "digest": string(dgst)})
}
