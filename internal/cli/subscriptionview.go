package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// subscriptionView is a subscription as az eventgrid prints it: the properties of
// the subscription, of its destinations and of delivery attributes at the top of
// each, and absent members as null.
func subscriptionView(s controlclient.EventSubscription) map[string]any {
	view := lifted(s.Raw, s.ID)
	if s.Health == nil {
		delete(view, "health")
	}
	addNulls(view, "deadLetterDestination", "deadLetterWithResourceIdentity", "deliveryWithResourceIdentity", "expirationTimeUtc", "labels", "systemData")
	if d := raise(view["destination"]); d != nil {
		addNulls(d, "deliveryAttributeMappings")
		if s.Properties.Destination.EndpointType == controlclient.ToWebHook {
			addNulls(d, "azureActiveDirectoryApplicationIdOrUri", "azureActiveDirectoryTenantId", "endpointUrl", "maxEventsPerBatch", "preferredBatchSizeInKilobytes")
		}
		attributes, _ := d["deliveryAttributeMappings"].([]any)
		for _, a := range attributes {
			raise(a)
		}
	}
	if d := raise(view["deadLetterDestination"]); d != nil {
		addNulls(d, "blobContainerName", "resourceId")
	}
	withNulls(view, "filter", "advancedFilters", "enableAdvancedFilteringOnArrays", "includedEventTypes", "isSubjectCaseSensitive", "subjectBeginsWith", "subjectEndsWith")
	return view
}

// raise lifts the properties of an object to its top and returns it; nil if it is
// no object.
func raise(value any) map[string]any {
	object, _ := value.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	delete(object, "properties")
	maps.Copy(object, properties)
	return object
}

func attributeView(a controlclient.DeliveryAttribute) map[string]any {
	object, _ := generic(a).(map[string]any)
	return raise(object)
}

func eventTypeView(t controlclient.EventType) map[string]any { return raise(decoded(t.Raw)) }

func eventTypeTable(types []controlclient.EventType) table {
	t := table{header: []string{"NAME", "DESCRIPTION", "DEFAULT"}}
	for _, e := range types {
		inDefault := ""
		if e.Properties.IsInDefaultSet {
			inDefault = "yes"
		}
		t.rows = append(t.rows, []string{e.Name, e.Properties.Description, inDefault})
	}
	return t
}

// subscriptionTable shows health, where the subscriptions come with it, in place
// of the state of those that are ready.
func (o *output) subscriptionTable(all ...controlclient.EventSubscription) table {
	t := table{header: []string{"NAME", "STATE", "DESTINATION", "TYPES", "FILTER"}}
	health := slices.ContainsFunc(all, func(s controlclient.EventSubscription) bool { return s.Health != nil })
	if health {
		t.header = append(t.header, healthHeader...)
	}
	for _, s := range all {
		p := s.Properties
		row := []string{s.Name, p.ProvisioningState, addressOf(p.Destination), typeWords(p.Filter.IncludedEventTypes), filterWords(p.Filter)}
		if h := s.Health; h != nil {
			if p.ProvisioningState == controlclient.SubscriptionReady {
				row[1] = cmp.Or(healthWords[h.State], h.State)
			}
			row = append(append(row, statusWord(h.LastStatus, h.LastError)), o.waitingCells(h)...)
		} else if health {
			row = append(row, make([]string, len(healthHeader))...)
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// defaultTypes are the types of events that a subscription hears of that names
// none, in order, without what all of Azure's begin with.
var defaultTypes = []string{"ChartDeleted", "ChartPushed", "ImageDeleted", "ImagePushed"}

// typeWords are types of events without what all of Azure's begin with.
func typeWords(types []string) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = strings.TrimPrefix(t, "Microsoft.ContainerRegistry.")
	}
	if slices.Equal(slices.Sorted(slices.Values(words)), defaultTypes) {
		return "default"
	}
	return strings.Join(words, ",")
}

// filterWords says what a filter asks for beside types: a * is any text of a
// subject.
func filterWords(f controlclient.SubscriptionFilter) string {
	var words []string
	if f.SubjectBeginsWith != "" || f.SubjectEndsWith != "" {
		words = append(words, f.SubjectBeginsWith+"*"+f.SubjectEndsWith)
	}
	if n := len(f.AdvancedFilters); n == 1 {
		words = append(words, conditionWords(f.AdvancedFilters[0]))
	} else if n > 1 {
		words = append(words, fmt.Sprint(n, " conditions"))
	}
	return strings.Join(words, ", ")
}

// conditionWords is a condition as a command line has it.
func conditionWords(f controlclient.AdvancedFilter) string {
	words := []string{f.Key, f.OperatorType}
	values := f.Values
	if f.Value != nil {
		values = []any{f.Value}
	}
	for _, v := range values {
		words = append(words, valueWord(v))
	}
	return strings.Join(words, " ")
}

func valueWord(v any) string {
	ends, ok := v.([]any)
	if !ok {
		return scalar(v)
	}
	texts := make([]string, len(ends))
	for i, e := range ends {
		texts[i] = scalar(e)
	}
	return strings.Join(texts, ",")
}

// hintState says in a sentence what is wrong with a subscription, and what to do.
func (s *subscriptions) hintState(registry string, sub controlclient.EventSubscription) {
	if without := withoutValidation(registry, sub); without != "" {
		s.env.hint("%s", without)
	}
	if sub.Health != nil {
		s.hintHealth(registry, sub.Name, sub.Health)
	}
}

// withoutValidation says in a sentence that a subscription's receiver has not
// agreed, and what to do; nothing if it has.
func withoutValidation(registry string, s controlclient.EventSubscription) string {
	again := fmt.Sprintf("dockbell event-subscription validate -r %s -n %s", registry, s.Name)
	reason := s.Properties.StateReason
	switch s.Properties.ProvisioningState {
	case controlclient.SubscriptionAwaiting:
		return fmt.Sprintf("event subscription %s sends nothing yet: %s; to have the receiver asked again: %s", s.Name,
			cmp.Or(reason, "its receiver took the handshake and did not answer it, and has ten minutes for opening the address that it was sent"), again)
	case controlclient.SubscriptionFailed:
		return fmt.Sprintf("event subscription %s sends nothing: %s; next: %s", s.Name,
			cmp.Or(reason, "its receiver has not agreed in time"), again)
	}
	return ""
}

// warnOfState tells everyone that a subscription's receiver has not agreed, if
// that is so, and reports it.
func (env Env) warnOfState(registry string, s controlclient.EventSubscription) bool {
	without := withoutValidation(registry, s)
	if without != "" {
		env.warn("%s", without)
	}
	return without != ""
}
