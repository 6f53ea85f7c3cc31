package tenant

import (
	"strconv"
	"time"

	"github.com/dockbell/dockbell/internal/fault"
)

// The settings of the policy that removes untagged manifests. Premium has it.
const (
	retentionStatus = "policies.retentionPolicy.status"
	retentionDays   = "policies.retentionPolicy.days"

	// retentionChanged has when one of them was changed last, in RFC 3339. It is
	// kept with the settings and is none: nobody sets it.
	retentionChanged = "policies.retentionPolicy.lastUpdatedTime"
)

// RetentionPolicy says whether and when untagged manifests are removed.
type RetentionPolicy struct {
	Enabled bool
	Days    int       // without a tag, 0 to 365
	Updated time.Time // when the policy was last another
}

// RetentionPolicy returns the registry's.
func (r Registry) RetentionPolicy() RetentionPolicy {
	p := RetentionPolicy{Enabled: r.Settings.Get(retentionStatus) == "enabled"}
	p.Days, _ = strconv.Atoi(r.Settings.Get(retentionDays)) // it was checked
	p.Updated = r.changedAt(retentionChanged)
	return p
}

// changedAt returns when a policy was changed last, given the name that this has among
// the settings.
func (r Registry) changedAt(name string) time.Time {
	if at, err := time.Parse(time.RFC3339Nano, r.Settings[name]); err == nil {
		return at
	}
	return r.CreatedAt
}

// noteRetention notes in r, which was old, when the policy became another.
func (r *Registry) noteRetention(old Registry, now time.Time) {
	before, after := old.RetentionPolicy(), r.RetentionPolicy()
	if before.Enabled != after.Enabled || before.Days != after.Days {
		r.Settings[retentionChanged] = now.UTC().Format(time.RFC3339Nano)
	}
}

// checkRetention fails if r, which was old, has the policy in a tier that does
// not.
func (r Registry) checkRetention(old Registry) error {
	if r.SKU == Premium || !r.RetentionPolicy().Enabled {
		return nil
	}
	if old.RetentionPolicy().Enabled {
		return fault.New(fault.Conflict, "registry %s cannot become %s while its retention policy is enabled, which Premium has: set properties.%s to disabled first, or with the tier", old.Name, r.SKU, retentionStatus).
			WithCode("RetentionPolicyNotSupported")
	}
	return fault.New(fault.Invalid, "properties.%s cannot be enabled in a registry of tier %s: Premium has it", retentionStatus, r.SKU).WithCode("InvalidParameter")
}
