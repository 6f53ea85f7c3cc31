package arm

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/webhook"
)

// dryRun is how PUT and PATCH of a webhook are asked what they would come to.
type dryRun struct {
	is   bool
	last int // how many of the registry's newest events are compared with it
}

// maxCompared is how many events a dry run compares at the most.
const maxCompared = 100

// parseDryRun reads the query parameters validateOnly and last, which are not ACR's.
func parseDryRun(query url.Values) (d dryRun, err error) {
	switch text := query.Get("validateOnly"); strings.ToLower(text) {
	case "", "false":
		return dryRun{}, nil
	case "true":
	default:
		return d, fault.New(fault.Invalid, "validateOnly %q is neither true nor false: with true, everything is checked and nothing is changed", clip(text))
	}
	d.is = true
	d.last, err = parseCount(query, "last", "events", 0, maxCompared, 0)
	return d, err
}

// isDryRun reports whether a call changes nothing, though its operation does.
func (c call) isDryRun() bool {
	d, _ := parseDryRun(c.URL.Query())
	return d.is && c.route.action == aWebhook+"/write"
}

type (
	validationBody struct {
		Valid    bool           `json:"valid"`
		Problems []problemBody  `json:"problems"`
		Events   []comparedBody `json:"events,omitempty"` // newest first; absent too where scope or actions are a problem
	}
	problemBody struct {
		Target  string `json:"target,omitempty"` // the member; absent: the webhook as a whole
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	// comparedBody is an event, and whether the webhook would have rung for it.
	comparedBody struct {
		feedEntry
		Matches bool `json:"matches"`
	}
)

// topLevel are the members that are not among the properties.
var topLevel = map[webhook.Member]bool{webhook.MemberName: true, webhook.MemberLocation: true, webhook.MemberTags: true}

// problemToWire shows what is wrong with a member, which it names as bodies do.
func problemToWire(member string, err error) problemBody {
	f := fault.As(err)
	_, code := statusAndCode(f)
	if member != "" && !topLevel[webhook.Member(member)] {
		member = "properties." + member
	}
	return problemBody{member, code, f.Message}
}

// validate answers what a PUT or PATCH would come to.
func (a *api) validate(c call, in webhookInput, dry dryRun, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	body := validationBody{Problems: []problemBody{}}
	if p := in.Properties.value; p != nil && p.RetryPolicy.value != nil {
		for name, err := range p.RetryPolicy.value.problems() {
			body.Problems = append(body.Problems, problemToWire("retryPolicy."+name, err))
		}
		p.RetryPolicy.value.leaveOutOfRange()
	}
	var v webhook.Validation
	if c.Method == http.MethodPut {
		def, err := in.definition()
		if err != nil {
			return answer{}, err
		}
		v, err = a.Webhooks.ValidatePut(c.Context(), hooksOf(c.registry), c.name, def)
		if err != nil {
			return answer{}, err
		}
	} else {
		change, err := in.change()
		if err != nil {
			return answer{}, err
		}
		v, err = a.Webhooks.ValidatePatch(c.Context(), hooksOf(c.registry), c.name, change)
		if err != nil {
			return answer{}, err
		}
	}
	for _, p := range v.Problems {
		member := string(p.Member)
		if p.Member == webhook.MemberPolicy {
			member += ".order" // its numbers were checked above
		}
		body.Problems = append(body.Problems, problemToWire(member, p.Err))
	}
	body.Valid = len(body.Problems) == 0
	if dry.last > 0 && v.Wants != nil {
		page, err := a.Feed.Last(c.Context(), c.registry.ID, dry.last)
		if err != nil {
			return answer{}, err
		}
		for i := len(page.Entries) - 1; i >= 0; i-- {
			e := page.Entries[i]
			if e.Event.OwedTo == 0 { // not a ping, which rings whom it was made for
				body.Events = append(body.Events, comparedBody{c.feedToWire(e), v.Wants(e.Event)})
			}
		}
	}
	return answer{http.StatusOK, body}, nil
}
