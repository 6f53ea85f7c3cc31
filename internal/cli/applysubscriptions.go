package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// ofSubscription is the kind of a step about an event subscription.
const ofSubscription = "event subscription "

// planSubscriptions returns what is to be done, and the names of event subscriptions
// that are not in the file and stay.
func (a *application) planSubscriptions(ctx context.Context) (steps []step, left []string, err error) {
	there, err := a.server.EventSubscriptions(ctx, a.registry, "")
	if err != nil {
		return nil, nil, err
	}
	byName := map[string]controlclient.EventSubscription{}
	for _, s := range there {
		byName[strings.ToLower(s.Name)] = s
	}
	for _, want := range a.wanted.subscriptions {
		have, exists := byName[strings.ToLower(want.name)]
		delete(byName, strings.ToLower(want.name))
		if !exists {
			steps = append(steps, a.createSubscription(want))
			continue
		}
		secrets, err := a.secretsOf(ctx, have)
		if err != nil {
			return nil, nil, err
		}
		steps = append(steps, a.changeSubscription(want, have, secrets))
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		s := byName[name]
		if !a.prune {
			left = append(left, ofSubscription+s.Name)
			continue
		}
		steps = append(steps, step{sign: '-', kind: ofSubscription, name: s.Name, do: func(ctx context.Context) error {
			_, err := a.server.DeleteEventSubscription(ctx, a.registry, s.Name)
			return err
		}})
	}
	return steps, left, nil
}

// subscriptionSecrets are what of a subscription is asked for by itself.
type subscriptionSecrets struct {
	url        string // of a WebHook
	attributes []controlclient.DeliveryAttribute
}

func (a *application) secretsOf(ctx context.Context, s controlclient.EventSubscription) (secrets subscriptionSecrets, err error) {
	if s.Properties.Destination.EndpointType == controlclient.ToWebHook {
		if secrets.url, err = a.server.FullURL(ctx, a.registry, s.Name); err != nil {
			return secrets, err
		}
	}
	if len(s.Properties.Destination.Properties.DeliveryAttributeMappings) > 0 {
		secrets.attributes, err = a.server.DeliveryAttributes(ctx, a.registry, s.Name)
	}
	return secrets, err
}

// written does a write, and tells everyone if the receiver has not agreed then.
func (a *application) written(ctx context.Context, name string, err error) error {
	if err != nil {
		return err
	}
	s, err := a.server.EventSubscription(ctx, a.registry, name)
	a.env.warnOfState(a.registry, s)
	return err
}

func (a *application) createSubscription(want wantedSubscription) step {
	def := controlclient.EventSubscriptionWrite{
		Destination:         &want.destination,
		Filter:              &want.filter,
		EventDeliverySchema: want.schema,
		RetryPolicy:         want.policy(),
	}
	if len(want.labels) > 0 {
		def.Labels = want.labels
	}
	if !want.expires.IsZero() {
		def.ExpirationTimeUTC = &controlclient.Expiry{Time: want.expires.Time}
	}
	if want.container != "" {
		def.DeadLetterDestination = &controlclient.DeadLetterDestination{Container: want.container}
	}
	return step{sign: '+', kind: ofSubscription, name: want.name, do: func(ctx context.Context) error {
		_, err := a.server.PutEventSubscription(ctx, a.registry, want.name, def)
		return a.written(ctx, want.name, err)
	}}
}

// policy returns how hard is tried, on the wire.
func (s wantedSubscription) policy() *controlclient.RetryPolicy {
	return &controlclient.RetryPolicy{MaxDeliveryAttempts: &s.attempts, EventTimeToLiveInMinutes: &s.ttl}
}

func (a *application) changeSubscription(want wantedSubscription, have controlclient.EventSubscription, secrets subscriptionSecrets) step {
	change, details := subscriptionDifference(want, have, secrets, a.resend)
	if details == nil {
		return step{sign: '=', kind: ofSubscription, name: have.Name}
	}
	return step{sign: '~', kind: ofSubscription, name: have.Name, details: details, do: func(ctx context.Context) error {
		_, err := a.server.PatchEventSubscription(ctx, a.registry, have.Name, change)
		return a.written(ctx, have.Name, err)
	}}
}

// subscriptionDifference returns the change that makes a subscription what is wanted,
// and what that is, in words without secrets; nil for nothing. Credentials of
// brokers, which the server does not tell, are compared only as to whether there are
// any, and with resend differ always.
func subscriptionDifference(want wantedSubscription, have controlclient.EventSubscription, secrets subscriptionSecrets, resend bool) (w controlclient.EventSubscriptionWrite, details []string) {
	p := have.Properties
	differs := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }

	details = destinationDifference(want.destination, p.Destination, secrets, resend)
	if details != nil {
		w.Destination = &want.destination
	}
	if words := filterDifference(want.filter, p.Filter); words != nil {
		w.Filter = &want.filter
		details = append(details, words...)
	}
	if p.EventDeliverySchema != want.schema {
		w.EventDeliverySchema = want.schema
		differs("eventDeliverySchema: %s -> %s", p.EventDeliverySchema, want.schema)
	}
	from, to := wordsOfPolicy(&p.RetryPolicy), wordsOfPolicy(want.policy())
	for i, member := range policyMembers[:len(from)] {
		if from[i] != to[i] {
			w.RetryPolicy = want.policy()
			differs("retryPolicy.%s: %s -> %s", member, from[i], to[i])
		}
	}
	there := controlclient.DeadLetterDestination{}
	if p.DeadLetterDestination != nil {
		there = *p.DeadLetterDestination
	}
	if there.Container != want.container {
		w.DeadLetterDestination = &controlclient.DeadLetterDestination{Container: want.container}
		differs("deadLetterContainer: %s -> %s", cmp.Or(there.Container, "none"), cmp.Or(want.container, "none"))
	}
	if !slices.Equal(p.Labels, want.labels) {
		w.Labels = want.labels
		differs("labels: %s -> %s", listed(p.Labels), listed(want.labels))
	}
	if !p.ExpirationTimeUTC.Equal(want.expires.Time) {
		w.ExpirationTimeUTC = &controlclient.Expiry{Time: want.expires.Time}
		differs("expirationTimeUtc: %s -> %s", momentWord(p.ExpirationTimeUTC.Time), momentWord(want.expires.Time))
	}
	return w, details
}

// listed is a list as a sentence has it.
func listed(words []string) string { return cmp.Or(strings.Join(words, ", "), "none") }

func momentWord(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// wordsOfPolicy are the two members of a policy that a subscription has, in the
// order of policyMembers.
func wordsOfPolicy(p *controlclient.RetryPolicy) [2]string {
	attempts, minutes := mostSubscriptionAttempts, mostSubscriptionMinutes
	if p.MaxDeliveryAttempts != nil {
		attempts = *p.MaxDeliveryAttempts
	}
	if p.EventTimeToLiveInMinutes != nil {
		minutes = *p.EventTimeToLiveInMinutes
	}
	return [2]string{strconv.Itoa(attempts), strconv.Itoa(minutes)}
}

func destinationDifference(want, have controlclient.Destination, secrets subscriptionSecrets, resend bool) (details []string) {
	differs := func(format string, args ...any) { details = append(details, fmt.Sprintf(format, args...)) }
	to, from := want.Properties, have.Properties
	change := func(member, from, to string) {
		if from != to {
			differs("%s: %s -> %s", member, cmp.Or(from, "none"), cmp.Or(to, "none"))
		}
	}
	if want.EndpointType == controlclient.ToWebHook && have.EndpointType == controlclient.ToWebHook {
		if to.EndpointURL != secrets.url {
			if from, to := origin(secrets.url), origin(to.EndpointURL); from != to {
				differs("endpoint: %s -> %s", from, to)
			} else {
				differs("endpoint: changed")
			}
		}
		change("maxEventsPerBatch", numberWord(from.MaxEventsPerBatch, 1), numberWord(to.MaxEventsPerBatch, 1))
		change("preferredBatchSizeInKilobytes", numberWord(from.PreferredBatchSizeInKilobytes, usualKilobytes), numberWord(to.PreferredBatchSizeInKilobytes, usualKilobytes))
	} else {
		change("endpoint", shownAddress(have), shownAddress(want))
	}
	if want.EndpointType == have.EndpointType && want.EndpointType != controlclient.ToWebHook {
		change("mode", cmp.Or(from.Mode, brokerModes[0]), to.Mode)
		if want.EndpointType == controlclient.ToKafka {
			change("key", cmp.Or(from.Key, usualKey), to.Key)
		}
		change("username", from.Username, to.Username)
		change("mechanism", from.Mechanism, to.Mechanism)
		change("tls", tlsWord(from.TLS), tlsWord(to.TLS))
		for _, secret := range []struct{ name, from, to string }{
			{"password", from.Password, to.Password}, {"token", from.Token, to.Token}, {"credentials", from.Credentials, to.Credentials},
		} {
			switch {
			case secret.to != "" && secret.from == "":
				differs("%s: added", secret.name)
			case secret.to != "" && resend:
				differs("%s: sent again", secret.name)
			}
		}
		if to.TLS != nil && to.TLS.CA+to.TLS.Certificate+to.TLS.Key != "" && resend {
			differs("certificates: sent again")
		}
	}
	there, wanted := attributesByName(secrets.attributes), attributesByName(to.DeliveryAttributeMappings)
	for _, name := range union(there, wanted) {
		switch {
		case there[name] == "":
			differs("delivery attribute %s: added", name)
		case wanted[name] == "":
			differs("delivery attribute %s: removed", name)
		case there[name] != wanted[name]:
			differs("delivery attribute %s: changed", name)
		}
	}
	return details
}

// shownAddress returns what of an address is no secret.
func shownAddress(d controlclient.Destination) string {
	if d.EndpointType == controlclient.ToWebHook {
		return origin(cmp.Or(d.Properties.EndpointURL, d.Properties.EndpointBaseURL))
	}
	return addressOf(d)
}

func numberWord(n *int, usual int) string {
	if n == nil {
		n = &usual
	}
	return strconv.Itoa(*n)
}

func tlsWord(t *controlclient.BrokerTLS) string {
	if t != nil && t.Enabled {
		return "enabled"
	}
	return "none"
}

// attributesByName returns the whole of each delivery attribute, as JSON, by its name
// in lower case.
func attributesByName(all []controlclient.DeliveryAttribute) map[string]string {
	out := map[string]string{}
	for _, a := range all {
		if a.Type == "Static" {
			a = staticAttribute(a.Name, valueOf(a.Properties.Value), a.Properties.IsSecret != nil && *a.Properties.IsSecret)
		}
		text, err := json.Marshal(a.Properties)
		if err != nil {
			continue // texts and a boolean have JSON
		}
		out[strings.ToLower(a.Name)] = string(text)
	}
	return out
}

func valueOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}

func filterDifference(want, have controlclient.SubscriptionFilter) (details []string) {
	change := func(member, from, to string) {
		if from != to {
			details = append(details, fmt.Sprintf("%s: %s -> %s", member, from, to))
		}
	}
	change("includedEventTypes", typesInOrder(have.IncludedEventTypes), typesInOrder(want.IncludedEventTypes))
	change("subjectBeginsWith", strconv.Quote(have.SubjectBeginsWith), strconv.Quote(want.SubjectBeginsWith))
	change("subjectEndsWith", strconv.Quote(have.SubjectEndsWith), strconv.Quote(want.SubjectEndsWith))
	change("isSubjectCaseSensitive", strconv.FormatBool(have.IsSubjectCaseSensitive), strconv.FormatBool(want.IsSubjectCaseSensitive))
	change("enableAdvancedFilteringOnArrays", strconv.FormatBool(have.EnableAdvancedFilteringOnArrays), strconv.FormatBool(want.EnableAdvancedFilteringOnArrays))
	if from, to := generic(have.AdvancedFilters), generic(want.AdvancedFilters); len(have.AdvancedFilters)+len(want.AdvancedFilters) > 0 && !reflect.DeepEqual(from, to) {
		details = append(details, fmt.Sprintf("advancedFilters: %s -> %s", allConditions(have.AdvancedFilters), allConditions(want.AdvancedFilters)))
	}
	return details
}

// typesInOrder are types of events as words whose order does not matter.
func typesInOrder(types []string) string {
	types = slices.Sorted(slices.Values(types))
	if len(types) == 0 {
		return "default"
	}
	return typeWords(slices.Compact(types))
}

func allConditions(all []controlclient.AdvancedFilter) string {
	words := make([]string, len(all))
	for i, f := range all {
		words[i] = conditionWords(f)
	}
	return cmp.Or(strings.Join(words, ", "), "none")
}
