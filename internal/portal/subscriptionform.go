package portal

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
	"github.com/dockbell/dockbell/internal/fault"
)

func init() {
	const base = Root + "/registries/{registry}/subscriptions"
	addPages(
		route{"GET " + base + "/new", showNewSubscription},
		route{"POST " + base + "/new", createSubscription},
		route{"GET " + base + "/{endpoint}/edit", showEditSubscription},
		route{"POST " + base + "/{endpoint}/edit", changeSubscription},
	)
}

// typedSubscription is a form as it was sent, or filled with what there is.
type typedSubscription struct {
	typedForm
	old *controlclient.EventSubscription // nil: it is a new one
}

// subscriptionFields are the fields beside which a refusal of the API can be, by the
// member that it names. The longer names come first.
var subscriptionFields = []string{
	"preferredBatchSizeInKilobytes", "maxEventsPerBatch", "eventTimeToLiveInMinutes", "maxDeliveryAttempts", "includedEventTypes", "subjectBeginsWith", "subjectEndsWith",
	"advancedFilters", "eventDeliverySchema", "expirationTimeUtc", "blobContainerName", "deliveryAttributeMappings", "endpointUrl", "credentials", "mechanism", "username", "password",
	"servers", "subject", "topic", "labels", "mode", "tls", "token", "key",
}

// fieldIn returns the field that a refusal of the API names; empty for none.
func fieldIn(message string) string {
	for _, name := range subscriptionFields {
		if strings.Contains(message, "."+name) || strings.HasPrefix(message, name+" ") || strings.HasPrefix(message, name+"[") {
			return name
		}
	}
	for _, x := range []struct{ words, field string }{
		{"the name ", "name"}, {"no topic", "topic"}, {"no subject", "subject"}, {"no server", "servers"}, {"the endpointUrl ", "endpointUrl"}, {"handshake with", "endpointUrl"}, {"may not ring", "endpointUrl"},
	} {
		if strings.Contains(message, x.words) {
			return x.field
		}
	}
	return ""
}

// hidden returns what was typed of a secret, or what stands for the one there is.
func (t *typedSubscription) hidden(name, old string) string {
	if text := t.Get(name); text != "" || old != controlclient.Hidden {
		return text
	}
	return controlclient.Hidden
}

// destination is where the form says events are to go.
func (t *typedSubscription) destination() *controlclient.Destination {
	d := &controlclient.Destination{EndpointType: t.text("endpointType"), Properties: controlclient.DestinationProperties{DeliveryAttributeMappings: t.attributes()}}
	p := &d.Properties
	var old controlclient.DestinationProperties
	if t.old != nil && t.old.Properties.Destination.EndpointType == d.EndpointType {
		old = t.old.Properties.Destination.Properties
	}
	if d.EndpointType == controlclient.ToWebHook {
		p.EndpointURL, p.MaxEventsPerBatch, p.PreferredBatchSizeInKilobytes = t.text("endpointUrl"), t.number("maxEventsPerBatch"), t.number("preferredBatchSizeInKilobytes")
		p.MinimumTLSVersionAllowed = old.MinimumTLSVersionAllowed
		return d
	}
	p.Servers, p.Mode, p.Username, p.Password = t.list("servers"), t.text("mode"), t.text("username"), t.hidden("password", old.Password)
	if d.EndpointType == controlclient.ToKafka {
		p.Topic, p.Key, p.Mechanism = t.text("topic"), t.text("key"), t.text("mechanism")
	} else {
		p.Subject, p.Token, p.Credentials = t.text("subject"), t.hidden("token", old.Token), t.hidden("credentials", old.Credentials)
	}
	if t.Get("tls") != "" {
		var was controlclient.BrokerTLS
		if old.TLS != nil {
			was = *old.TLS
		}
		p.TLS = &controlclient.BrokerTLS{Enabled: true, CA: t.text("tlsCA"), Certificate: t.text("tlsCertificate"), Key: t.hidden("tlsKey", was.Key)}
	}
	return d
}

// attributes are the delivery attributes: lines of a name and a value, or a member of
// the event in braces, and those that are secret.
func (t *typedSubscription) attributes() []controlclient.DeliveryAttribute {
	all := []controlclient.DeliveryAttribute{}
	open, secret := t.lines("deliveryAttributeMappings", ":", "X-Env: prod"), t.lines("secretAttributes", ":", "Authorization: Bearer …")
	for _, name := range slices.Sorted(maps.Keys(open)) {
		value, no := open[name], false
		if member, ok := strings.CutPrefix(value, "{"); ok && strings.HasSuffix(member, "}") {
			all = append(all, controlclient.DeliveryAttribute{Name: name, Type: "Dynamic", Properties: controlclient.DeliveryAttributeProperties{SourceField: strings.TrimSuffix(member, "}")}})
			continue
		}
		all = append(all, controlclient.DeliveryAttribute{Name: name, Type: "Static", Properties: controlclient.DeliveryAttributeProperties{Value: &value, IsSecret: &no}})
	}
	yes := true
	if len(secret) == 0 && t.old != nil && t.Get("clearSecretAttributes") == "" {
		for _, a := range t.old.Properties.Destination.Properties.DeliveryAttributeMappings {
			if _, typed := open[a.Name]; isSecret(a) && !typed {
				all = append(all, a) // whose value stands for the one there is
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		value := secret[name]
		all = append(all, controlclient.DeliveryAttribute{Name: name, Type: "Static", Properties: controlclient.DeliveryAttributeProperties{Value: &value, IsSecret: &yes}})
	}
	return all
}

func isSecret(a controlclient.DeliveryAttribute) bool {
	return a.Properties.IsSecret != nil && *a.Properties.IsSecret
}

// conditions reads lines of a member, an operator and what it compares with. Whether
// there is such an operator is for the API to say.
func (t *typedSubscription) conditions() (all []controlclient.AdvancedFilter) {
	for line := range strings.Lines(t.Get("advancedFilters")) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) == 1 {
			t.wrong["advancedFilters"] = fmt.Sprintf("%.80q is no condition: write a member, an operator and values, for example data.target.tag StringBeginsWith v1.", words[0])
			continue
		}
		f, err := parseFilterLine(words)
		if err != nil {
			t.wrong["advancedFilters"] = sentence(err)
		}
		all = append(all, f)
	}
	return all
}

// parseFilterLine reads a member, an operator and its values, of which there may be
// none.
func parseFilterLine(words []string) (f controlclient.AdvancedFilter, err error) {
	f.Key, f.OperatorType = words[0], words[1]
	operator := strings.ToLower(f.OperatorType)
	number := func(text string) (any, error) {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
			return nil, fault.New(fault.Invalid, "%s compares with numbers, and %.40q is none", f.OperatorType, text)
		}
		return n, nil
	}
	for _, text := range words[2:] {
		var value any = text
		switch {
		case strings.HasSuffix(operator, "inrange"):
			low, high, _ := strings.Cut(text, ",")
			from, err := number(low)
			if err != nil {
				return f, err
			}
			to, err := number(high)
			if err != nil {
				return f, err
			}
			value = []any{from, to}
		case strings.HasPrefix(operator, "number"):
			if value, err = number(text); err != nil {
				return f, err
			}
		case strings.HasPrefix(operator, "bool"):
			b, err := strconv.ParseBool(strings.ToLower(text))
			if err != nil {
				return f, fault.New(fault.Invalid, "%s compares with true or false, and %.40q is neither", f.OperatorType, text)
			}
			value = b
		}
		f.Values = append(f.Values, value)
	}
	one := strings.HasPrefix(operator, "bool") || strings.HasPrefix(operator, "number") && !strings.HasSuffix(operator, "in") && !strings.HasSuffix(operator, "inrange")
	if one && len(f.Values) == 1 {
		f.Value, f.Values = f.Values[0], nil
	}
	return f, nil
}

// filterLine writes a condition as parseFilterLine reads it.
func filterLine(f controlclient.AdvancedFilter) string {
	words := []string{f.Key, f.OperatorType}
	values := f.Values
	if f.Value != nil {
		values = []any{f.Value}
	}
	for _, v := range values {
		if pair, ok := v.([]any); ok && len(pair) == 2 {
			words = append(words, fmt.Sprint(pair[0], ",", pair[1]))
			continue
		}
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, " ")
}

// write is the form as the API has it.
func (t *typedSubscription) write() controlclient.EventSubscriptionWrite {
	w := controlclient.EventSubscriptionWrite{
		Destination: t.destination(),
		Filter: &controlclient.SubscriptionFilter{
			SubjectBeginsWith: t.text("subjectBeginsWith"), SubjectEndsWith: t.text("subjectEndsWith"), IsSubjectCaseSensitive: t.Get("isSubjectCaseSensitive") != "",
			IncludedEventTypes: t.Values["includedEventTypes"], EnableAdvancedFilteringOnArrays: t.Get("enableAdvancedFilteringOnArrays") != "", AdvancedFilters: t.conditions(),
		},
		Labels: t.list("labels"), ExpirationTimeUTC: &controlclient.Expiry{}, EventDeliverySchema: t.text("eventDeliverySchema"),
		RetryPolicy:           &controlclient.RetryPolicy{MaxDeliveryAttempts: t.number("maxDeliveryAttempts"), EventTimeToLiveInMinutes: t.number("eventTimeToLiveInMinutes")},
		DeadLetterDestination: &controlclient.DeadLetterDestination{Container: t.text("blobContainerName")},
	}
	if text := t.text("expirationTimeUtc"); text != "" {
		at, err := parseMoment(text)
		if err != nil {
			t.wrong["expirationTimeUtc"] = sentence(err)
		}
		w.ExpirationTimeUTC.Time = at
	}
	if t.old != nil {
		w.EventDeliverySchema = "" // which never changes
		if w.Destination.EndpointType == controlclient.ToWebHook && t.old.Properties.DeadLetterDestination != nil && w.DeadLetterDestination.Container == t.old.Properties.DeadLetterDestination.Container {
			w.DeadLetterDestination.ResourceID = t.old.Properties.DeadLetterDestination.ResourceID
		}
	}
	return w
}

// typedOfSubscription fills a form with a subscription that is there.
func typedOfSubscription(s *controlclient.EventSubscription) *typedSubscription {
	p := s.Properties
	d := p.Destination.Properties
	v := url.Values{
		"endpointType": {p.Destination.EndpointType}, "servers": {strings.Join(d.Servers, "\n")}, "subject": {d.Subject}, "topic": {d.Topic}, "mode": {d.Mode}, "key": {d.Key},
		"username": {d.Username}, "mechanism": {d.Mechanism}, "includedEventTypes": p.Filter.IncludedEventTypes, "subjectBeginsWith": {p.Filter.SubjectBeginsWith},
		"subjectEndsWith": {p.Filter.SubjectEndsWith}, "labels": {strings.Join(p.Labels, "\n")}, "eventDeliverySchema": {p.EventDeliverySchema},
	}
	setNumber := func(name string, n *int) {
		if n != nil {
			v.Set(name, strconv.Itoa(*n))
		}
	}
	setNumber("maxEventsPerBatch", d.MaxEventsPerBatch)
	setNumber("preferredBatchSizeInKilobytes", d.PreferredBatchSizeInKilobytes)
	setNumber("maxDeliveryAttempts", p.RetryPolicy.MaxDeliveryAttempts)
	setNumber("eventTimeToLiveInMinutes", p.RetryPolicy.EventTimeToLiveInMinutes)
	setYes := func(name string, is bool) {
		if is {
			v.Set(name, "yes")
		}
	}
	setYes("isSubjectCaseSensitive", p.Filter.IsSubjectCaseSensitive)
	setYes("enableAdvancedFilteringOnArrays", p.Filter.EnableAdvancedFilteringOnArrays)
	if d.TLS != nil {
		setYes("tls", d.TLS.Enabled)
		v.Set("tlsCA", d.TLS.CA)
		v.Set("tlsCertificate", d.TLS.Certificate)
	}
	if !p.ExpirationTimeUTC.IsZero() {
		v.Set("expirationTimeUtc", p.ExpirationTimeUTC.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if p.DeadLetterDestination != nil {
		v.Set("blobContainerName", p.DeadLetterDestination.Container)
	}
	var conditions, attributes []string
	for _, f := range p.Filter.AdvancedFilters {
		conditions = append(conditions, filterLine(f))
	}
	for _, a := range d.DeliveryAttributeMappings {
		switch {
		case a.Type == "Dynamic":
			attributes = append(attributes, a.Name+": {"+a.Properties.SourceField+"}")
		case !isSecret(a) && a.Properties.Value != nil:
			attributes = append(attributes, a.Name+": "+*a.Properties.Value)
		}
	}
	v.Set("advancedFilters", strings.Join(conditions, "\n"))
	v.Set("deliveryAttributeMappings", strings.Join(attributes, "\n"))
	return &typedSubscription{typedForm{v, map[string]string{}}, s}
}

// fields are those of the form. types are the types of events there are.
func (t *typedSubscription) fields(types []controlclient.EventType) []editGroup {
	var kinds []editChoice
	for _, e := range types {
		kinds = append(kinds, editChoice{Value: e.Name, Text: shortType(e.Name) + ": " + cmp.Or(e.Properties.Description, e.Properties.DisplayName), Chosen: slices.Contains(t.Values["includedEventTypes"], e.Name)})
	}
	keep := ""
	if t.old != nil {
		keep = " Leave it empty to keep the one there is."
	}
	first := editGroup{}
	if t.old == nil {
		name := t.field("name", "Name", "3 to 64 letters, digits and dashes.", "on-push")
		name.Required = true
		first.Fields = append(first.Fields, name)
	}
	first.Fields = append(first.Fields,
		editField{Name: "endpointType", Label: "Destination", Kind: "select", Choices: t.pick("endpointType", controlclient.ToWebHook, "Web hook", controlclient.ToNatsJetStream, "NATS JetStream", controlclient.ToKafka, "Kafka")},
		t.field("endpointUrl", "Address of a web hook", "Its query is a secret: no page shows it again."+keep, "https://hooks.example.net/events"),
		editField{Name: "includedEventTypes", Label: "Event types", Kind: "checks", Choices: kinds, Help: "None: those of the default set."},
		t.field("subjectBeginsWith", "Subject begins with", "", "team/web"),
		t.field("subjectEndsWith", "Subject ends with", "", ":v1"))
	schema := t.choose("eventDeliverySchema", "Schema", "CloudEventSchemaV1_0", "CloudEvents 1.0", "EventGridSchema", "Event Grid")
	broker := editGroup{Title: "NATS and Kafka", Folded: !t.broker(), Fields: []editField{
		t.area("servers", "Servers", "One in a line, host:port.", "broker.example.net:4222"),
		t.field("subject", "Subject of NATS", "", "registry.events"), t.field("topic", "Topic of Kafka", "", "registry-events"),
		t.choose("mode", "Mode", "", "As usual", "structured", "structured: the event is the message", "binary", "binary: attributes are headers"),
		t.choose("key", "Key of Kafka’s records", "", "As usual", "none", "none", "repository", "repository", "subject", "subject"),
		t.field("username", "User name", "", ""), {Name: "password", Label: "Password", Kind: "password", Value: t.Get("password"), Help: "It is a secret." + keep},
		t.field("mechanism", "Mechanism of SASL", "Of Kafka.", "SCRAM-SHA-512"), {Name: "token", Label: "Token of NATS", Kind: "password", Value: t.Get("token"), Help: "It is a secret." + keep},
		{Name: "credentials", Label: "Credentials file of NATS", Kind: "area", Value: t.Get("credentials"), Help: "Its text, which is a secret." + keep},
		{Name: "tls", Label: "The connection is encrypted (TLS)", Kind: "check", Value: t.Get("tls")},
		t.area("tlsCA", "Authorities to trust", "PEM. Empty: those of this server.", ""), t.area("tlsCertificate", "Client certificate", "PEM.", ""), t.area("tlsKey", "Client key", "PEM. It is a secret."+keep, ""),
	}}
	filter := editGroup{Title: "Conditions", Folded: true, Fields: []editField{
		t.area("advancedFilters", "Conditions", "One in a line: a member, an operator and values. All have to hold.", "data.target.tag StringBeginsWith v1. v2."),
		{Name: "isSubjectCaseSensitive", Label: "Upper and lower case of the subject matter", Kind: "check", Value: t.Get("isSubjectCaseSensitive")},
		{Name: "enableAdvancedFilteringOnArrays", Label: "Conditions look into arrays", Kind: "check", Value: t.Get("enableAdvancedFilteringOnArrays")},
	}}
	delivery := editGroup{Title: "Delivery", Folded: true}
	if t.old == nil {
		delivery.Fields = append(delivery.Fields, schema)
	}
	secrets := t.area("secretAttributes", "Secret delivery attributes", "One in a line. No page shows their values again.", "Authorization: Bearer …")
	if t.old != nil {
		secrets.Help = "Leave them empty to keep those there are. New ones replace all of them."
	}
	delivery.Fields = append(delivery.Fields,
		t.count("maxEventsPerBatch", "Events in a request, at the most", "Of a web hook. Empty: 1."), t.count("preferredBatchSizeInKilobytes", "Size of a request, in kilobytes", "Of a web hook. Empty: 64."),
		t.count("maxDeliveryAttempts", "Attempts", "Empty: 30."), t.count("eventTimeToLiveInMinutes", "Time to live, in minutes", "Empty: 1440."),
		t.area("deliveryAttributeMappings", "Delivery attributes", "One in a line: a name and a value, or a member of the event in braces.", "X-Repository: {data.target.repository}"), secrets)
	if t.old != nil {
		delivery.Fields = append(delivery.Fields, editField{Name: "clearSecretAttributes", Label: "Take the secret delivery attributes away", Kind: "check", Value: t.Get("clearSecretAttributes")})
	}
	rest := editGroup{Title: "Labels, end and dead letters", Folded: true, Fields: []editField{
		t.area("labels", "Labels", "One in a line.", ""), t.field("expirationTimeUtc", "Ends", "In UTC. Empty: never.", "2027-01-31T15:04"),
		t.field("blobContainerName", "Container of dead letters", "Empty: they are kept in the database alone.", "dead-letters"),
	}}
	return []editGroup{first, broker, filter, delivery, rest}
}

// broker reports whether the destination is one.
func (t *typedSubscription) broker() bool {
	return t.text("endpointType") == controlclient.ToKafka || t.text("endpointType") == controlclient.ToNatsJetStream
}

// show answers with the form.
func (t *typedSubscription) show(p *portal, w http.ResponseWriter, v *visit, status int, problem string) error {
	reg, err := v.api.Registry(v.Context(), v.registry)
	if err != nil {
		return err
	}
	if !v.visitor.May(subscriptions.action+"/write", reg.ID) {
		return fault.New(fault.Denied, "you may not write event subscriptions of %s", reg.Name)
	}
	types, err := v.api.EventTypes(v.Context())
	if err != nil {
		return err
	}
	pg := page{Title: "Add subscription", Section: "subscriptions", Crumbs: []crumb{{"Subscriptions", v.path("subscriptions")}}}
	f := editForm{Action: v.path("subscriptions", "new"), Submit: "Add subscription", Cancel: v.path("subscriptions"), Problem: problem, Groups: t.fields(types)}
	if t.old != nil {
		own := v.path("subscriptions", t.old.Name)
		f.Action, f.Submit, f.Cancel = own+"/edit", "Save", own
		pg.Title, pg.Crumbs = "Edit "+t.old.Name, append(pg.Crumbs, crumb{t.old.Name, own})
	}
	f.mark(t.wrong)
	pg.Body = f
	return p.render(w, v.Request, v, status, "subscriptionform", pg)
}

// refused shows the form again with what the API refused, beside the field that it
// names.
func (t *typedSubscription) refused(p *portal, w http.ResponseWriter, v *visit, err error) error {
	f := fault.As(err)
	if f.Kind == fault.Internal || f.Kind == fault.Unauthenticated {
		return err
	}
	name := fieldIn(f.Message)
	if name == "" {
		return t.show(p, w, v, statusOf(f.Kind), sentence(err))
	}
	t.wrong[name] = sentence(err)
	return t.show(p, w, v, statusOf(f.Kind), "")
}

func showNewSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	t := &typedSubscription{typedForm{url.Values{"endpointType": {controlclient.ToWebHook}, "eventDeliverySchema": {"CloudEventSchemaV1_0"}}, map[string]string{}}, nil}
	return t.show(p, w, v, http.StatusOK, "")
}

func createSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	form, err := v.typed()
	if err != nil {
		return err
	}
	t := &typedSubscription{*form, nil}
	name, def := t.text("name"), t.write()
	if name == "" {
		t.wrong["name"] = "Give it a name: 3 to 64 letters, digits and dashes, for example on-push"
	} else if anotherPath(name) {
		t.wrong["name"] = fmt.Sprintf("The name %.80q is not valid: use 3 to 64 letters, digits and dashes, for example on-push", name)
	} else if _, missing := v.api.EventSubscription(v.Context(), v.registry, name); missing == nil {
		t.wrong["name"] = "There is an event subscription " + name + " already: choose another name, or open that one to change it"
	}
	if len(t.wrong) > 0 {
		return t.show(p, w, v, http.StatusBadRequest, "")
	}
	if _, err := v.api.PutEventSubscription(v.Context(), v.registry, name, def); err != nil {
		return t.refused(p, w, v, err)
	}
	return back(w, v, v.path("subscriptions", name), "subscription-created")
}

func showEditSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	old, err := v.api.EventSubscription(v.Context(), v.registry, v.PathValue("endpoint"))
	if err != nil {
		return err
	}
	return typedOfSubscription(&old).show(p, w, v, http.StatusOK, "")
}

func changeSubscription(p *portal, w http.ResponseWriter, v *visit) error {
	old, err := v.api.EventSubscription(v.Context(), v.registry, v.PathValue("endpoint"))
	if err != nil {
		return err
	}
	form, err := v.typed()
	if err != nil {
		return err
	}
	t := &typedSubscription{*form, &old}
	change := t.write()
	if len(t.wrong) > 0 {
		return t.show(p, w, v, http.StatusBadRequest, "")
	}
	if _, err := v.api.PatchEventSubscription(v.Context(), v.registry, old.Name, change); err != nil {
		return t.refused(p, w, v, err)
	}
	return back(w, v, v.path("subscriptions", old.Name), "subscription-changed")
}
