package tenant

import (
	"maps"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
)

// The rule for the names of registries and replications, as Azure has it.
const (
	minName = 5
	maxName = 50
)

// ParseName checks the name of a registry and returns it as it is stored, in
// lower case.
func ParseName(s string) (string, error) {
	if !validName(s) {
		return "", fault.New(fault.Invalid, "registry name %q is not valid: use %d to %d letters and digits, for example contoso", clip(s), minName, maxName).
			WithCode("InvalidResourceName")
	}
	return strings.ToLower(s), nil
}

func validName(s string) bool {
	return len(s) >= minName && len(s) <= maxName && !strings.ContainsFunc(s, func(r rune) bool { return !letterOrDigit(r) })
}

func letterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// checkGroupName has ARM's rule for the names of resource groups, in ASCII.
func checkGroupName(s string) error {
	wrong := func(r rune) bool { return !letterOrDigit(r) && !strings.ContainsRune("-_.()", r) }
	if s == "" || len(s) > 90 || strings.HasSuffix(s, ".") || strings.ContainsFunc(s, wrong) {
		return fault.New(fault.Invalid, "resource group name %q is not valid: use up to 90 letters, digits and - _ . ( ), with no full stop at the end", clip(s)).
			WithCode("InvalidResourceGroupName")
	}
	return nil
}

// groupKey is what names of groups are compared by.
func groupKey(name string) string { return strings.ToLower(name) }

// parseLocation returns a location as it is stored. only is the one location
// that is accepted; empty accepts any.
func parseLocation(what, text, only string) (string, error) {
	location := NormalLocation(text)
	switch {
	case location == "":
		return "", fault.New(fault.Invalid, "the %s has no location: give one, for example %s", what, orExample(only)).WithCode("LocationRequired")
	case len(location) > 50 || strings.ContainsFunc(location, func(r rune) bool { return !letterOrDigit(r) }):
		return "", fault.New(fault.Invalid, "location %q is not well-formed: use up to 50 letters and digits, for example %s", clip(text), orExample(only)).
			WithCode("LocationNotAvailableForResourceType")
	case only != "" && location != only:
		return "", fault.New(fault.Invalid, "location %s is not one of this server: it has %s", location, only).
			WithCode("LocationNotAvailableForResourceType")
	}
	return location, nil
}

func orExample(location string) string {
	if location == "" {
		return "westeurope"
	}
	return location
}

// only returns the one location that is accepted, empty for any.
func (o Options) only() string {
	if o.OneLocation {
		return o.DefaultLocation
	}
	return ""
}

// Limits on tags, as ARM has them.
const (
	maxTags     = 50
	maxTagName  = 512
	maxTagValue = 256
)

func checkTags(what string, tags map[string]string) error {
	if len(tags) > maxTags {
		return fault.New(fault.Invalid, "the %s has %d tags: it may have %d", what, len(tags), maxTags)
	}
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		switch {
		case name == "":
			return fault.New(fault.Invalid, "a tag of the %s has no name: write name=value", what)
		case len(name) > maxTagName:
			return fault.New(fault.Invalid, "the name of tag %q has %d bytes: it may have %d", clip(name), len(name), maxTagName)
		case len(tags[name]) > maxTagValue:
			return fault.New(fault.Invalid, "the value of tag %q has %d bytes: it may have %d", clip(name), len(tags[name]), maxTagValue)
		}
	}
	return nil
}
