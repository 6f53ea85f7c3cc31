package acrserver

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/dockbell/dockbell/internal/oci"
)

// setQuarantine takes a member of a change that is about quarantine.
func setQuarantine(change *oci.QuarantineChange, name string, value any) (err error) {
	text, ok := value.(string)
	if !ok {
		return badChange("%s is not a string", name)
	}
	if name == "quarantineState" {
		change.State, err = oci.ParseQuarantineState(text)
		return err
	}
	if text != "" { // which takes away what there was
		if err := checkDetails(text); err != nil {
			return err
		}
	}
	change.Details = &text
	return nil
}

// The bounds of quarantineDetails. ACR's form for it has those of the summary and of
// the description; the first, in bytes, is ours.
const (
	maxDetails     = 16 << 10
	maxSummary     = 5
	maxDescription = 1024
)

// severities are those of a summary.
var severities = []string{"Critical", "High", "Medium", "Low", "None"}

// checkDetails checks a text of quarantineDetails: a JSON object with scanner, state,
// link and result, none of which must be there. It fails with fault.Invalid.
func checkDetails(text string) error {
	if len(text) > maxDetails {
		return badDetails("it has %d bytes, and may have %d", len(text), maxDetails)
	}
	return eachMember("quarantineDetails", `{"state":"scan passed","link":"https://scanner.example/r/1"}`, []byte(text), func(name string, value any) error {
		switch name {
		case "scanner", "state", "link":
			if _, ok := value.(string); !ok {
				return badDetails("%s is not a string", name)
			}
			return nil
		case "result":
			return checkResult(value)
		}
		return badDetails("there is no member %.40q: use scanner, state, link and result", name)
	})
}

func checkResult(value any) error {
	result, ok := value.(map[string]any)
	if !ok {
		return badDetails("result is not an object")
	}
	if _, ok := result["version"].(string); !ok {
		return badDetails("result.version is not there, or not a string")
	}
	summary, ok := result["summary"].([]any)
	if !ok {
		return badDetails("result.summary is not there, or not a list")
	}
	if len(summary) > maxSummary {
		return badDetails("result.summary has %d entries, and may have %d", len(summary), maxSummary)
	}
	for i, entry := range summary {
		if err := checkSummary(i, entry); err != nil {
			return err
		}
	}
	if value, there := result["description"]; there {
		description, ok := value.(string)
		if n := utf8.RuneCountInString(description); !ok || n > maxDescription {
			return badDetails("result.description is not a string of up to %d characters", maxDescription)
		}
	}
	return nil
}

func checkSummary(i int, value any) error {
	entry, ok := value.(map[string]any)
	if !ok {
		return badDetails("result.summary[%d] is not an object", i)
	}
	if value, there := entry["severity"]; there {
		if severity, ok := value.(string); !ok || !slices.Contains(severities, severity) {
			return badDetails("result.summary[%d].severity is none of %s", i, strings.Join(severities, ", "))
		}
	}
	if value, there := entry["count"]; there {
		number, ok := value.(json.Number)
		if _, err := strconv.ParseInt(number.String(), 10, 64); !ok || err != nil {
			return badDetails("result.summary[%d].count is not a whole number", i)
		}
	}
	return nil
}

func badDetails(format string, args ...any) error {
	return badChange("quarantineDetails is not valid: "+format, args...)
}
