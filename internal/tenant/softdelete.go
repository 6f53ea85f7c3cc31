package tenant

import (
	"strconv"
	"time"
)

// The settings of the policy by which what is deleted can be restored. All tiers have
// it.
const (
	softDeleteStatus = "policies.softDeletePolicy.status"
	softDeleteDays   = "policies.softDeletePolicy.retentionDays"

	// softDeleteChanged is for this policy what retentionChanged is for that one.
	softDeleteChanged = "policies.softDeletePolicy.lastUpdatedTime"
)

// SoftDeletePolicy says whether what is deleted can be restored, and how long.
type SoftDeletePolicy struct {
	Enabled bool
	Days    int       // 1 to 90; also of what was deleted before the policy was switched off
	Updated time.Time // when the policy was last another
}

// Lifetime returns the days as a duration.
func (p SoftDeletePolicy) Lifetime() time.Duration { return time.Duration(p.Days) * 24 * time.Hour }

// SoftDeletePolicy returns the registry's.
func (r Registry) SoftDeletePolicy() SoftDeletePolicy {
	p := SoftDeletePolicy{Enabled: r.Settings.Get(softDeleteStatus) == "enabled", Updated: r.changedAt(softDeleteChanged)}
	p.Days, _ = strconv.Atoi(r.Settings.Get(softDeleteDays)) // it was checked
	return p
}

// noteSoftDelete notes in r, which was old, when the policy became another.
func (r *Registry) noteSoftDelete(old Registry, now time.Time) {
	before, after := old.SoftDeletePolicy(), r.SoftDeletePolicy()
	if before.Enabled != after.Enabled || before.Days != after.Days {
		r.Settings[softDeleteChanged] = now.UTC().Format(time.RFC3339Nano)
	}
}
