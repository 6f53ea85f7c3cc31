package cli

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// wantedSubscription is an event subscription as a file has it, complete: what the
// file leaves out is what a new one has.
type wantedSubscription struct {
	place string // file and line, for messages

	name        string
	destination controlclient.Destination // with secrets
	filter      controlclient.SubscriptionFilter
	schema      string
	labels      []string
	expires     deadline
	attempts    int
	ttl         int // minutes
	container   string
}

// Event Grid's limits, and what holds unless a file says otherwise.
const (
	mostSubscriptionAttempts = 30
	mostSubscriptionMinutes  = 1440
	mostEvents               = 5000
	mostKilobytes            = 1024
	usualKilobytes           = 64
	usualKey                 = "repository" // of a Kafka record
)

// subscription reads one element of the list.
func (r *hooksReader) subscription(n *yaml.Node) (wantedSubscription, error) {
	s := wantedSubscription{
		place: r.place(n), attempts: mostSubscriptionAttempts, ttl: mostSubscriptionMinutes,
		labels: []string{}, // not nil, which would keep those there are
	}
	attributes := []controlclient.DeliveryAttribute{}
	var endpoint string
	var broker *yaml.Node
	events, kilobytes := 1, usualKilobytes
	batched := false
	batch := func(dest *int, what string, most int) func(*yaml.Node) error {
		return func(n *yaml.Node) error {
			batched = true
			return r.within(dest, what, 1, most)(n)
		}
	}
	err := r.members(n, "an event subscription", map[string]func(*yaml.Node) error{
		"name":                          r.text(&s.name, "name", checkSubscriptionName),
		"endpoint":                      r.secret(&endpoint, "endpoint", checkEndpoint),
		"eventDeliverySchema":           r.word(&s.schema, "eventDeliverySchema", deliverySchemas),
		"filter":                        func(n *yaml.Node) error { return r.filter(&s.filter, n) },
		"maxEventsPerBatch":             batch(&events, "maxEventsPerBatch", mostEvents),
		"preferredBatchSizeInKilobytes": batch(&kilobytes, "preferredBatchSizeInKilobytes", mostKilobytes),
		"deliveryAttributeMappings": func(n *yaml.Node) error {
			return r.elements(n, "deliveryAttributeMappings", func(n *yaml.Node) error {
				a, err := r.attribute(n)
				attributes = append(attributes, a)
				return err
			})
		},
		"retryPolicy": func(n *yaml.Node) error {
			return r.members(n, "a retryPolicy of an event subscription", map[string]func(*yaml.Node) error{
				"maxDeliveryAttempts":      r.within(&s.attempts, "maxDeliveryAttempts", 1, mostSubscriptionAttempts),
				"eventTimeToLiveInMinutes": r.within(&s.ttl, "eventTimeToLiveInMinutes", 1, mostSubscriptionMinutes),
			})
		},
		"deadLetterContainer": r.text(&s.container, "deadLetterContainer", nil),
		"labels":              func(n *yaml.Node) error { return r.texts(&s.labels, n, "labels") },
		"expirationTimeUtc":   r.text(&s.expires.text, "expirationTimeUtc", s.expires.Set),
		"broker": func(n *yaml.Node) error {
			broker = n
			return nil
		},
	})
	if err != nil {
		return s, err
	}
	switch {
	case s.name == "":
		return s, r.refuse(n, "the event subscription has no name: add one of 3 to 64 letters, digits and dashes, for example name: on-push")
	case endpoint == "":
		return s, r.refuse(n, "event subscription %s has no endpoint: add where to tell of events, for example endpoint: https://hooks.example.net/in", s.name)
	}
	to, err := parseEndpoint(endpoint, "")
	if err != nil {
		return s, r.refuse(n, "endpoint: %s", err)
	}
	to.aim(&s.destination)
	s.destination.Properties.DeliveryAttributeMappings = attributes
	if err := r.broker(&s.destination, broker); err != nil {
		return s, err
	}
	p := &s.destination.Properties
	if to.ofType == controlclient.ToWebHook {
		p.MaxEventsPerBatch, p.PreferredBatchSizeInKilobytes = &events, &kilobytes
	} else if batched {
		return s, r.refuse(n, "event subscription %s is told of events one by one, by a broker: leave out maxEventsPerBatch and preferredBatchSizeInKilobytes", s.name)
	}
	if s.schema == "" {
		s.schema = deliverySchemas[0]
		if to.ofType != controlclient.ToWebHook {
			s.schema = cloudEventSchema
		}
	}
	key := "event subscription " + strings.ToLower(s.name)
	if first := r.places[key]; first != "" {
		return s, r.refuse(n, "event subscription %s is listed already at %s: names are compared without case", s.name, first)
	}
	r.places[key] = s.place
	return s, nil
}

// filter reads a filter, with Event Grid's names.
func (r *hooksReader) filter(f *controlclient.SubscriptionFilter, n *yaml.Node) error {
	return r.members(n, "a filter", map[string]func(*yaml.Node) error{
		"includedEventTypes":              func(n *yaml.Node) error { return r.texts(&f.IncludedEventTypes, n, "includedEventTypes") },
		"subjectBeginsWith":               r.text(&f.SubjectBeginsWith, "subjectBeginsWith", nil),
		"subjectEndsWith":                 r.text(&f.SubjectEndsWith, "subjectEndsWith", nil),
		"isSubjectCaseSensitive":          r.truth(&f.IsSubjectCaseSensitive, "isSubjectCaseSensitive"),
		"enableAdvancedFilteringOnArrays": r.truth(&f.EnableAdvancedFilteringOnArrays, "enableAdvancedFilteringOnArrays"),
		"advancedFilters": func(n *yaml.Node) error {
			return r.elements(n, "advancedFilters", func(n *yaml.Node) error {
				c, err := r.condition(n)
				f.AdvancedFilters = append(f.AdvancedFilters, c)
				return err
			})
		},
	})
}

// condition reads an advanced filter. A range is a list of its ends.
func (r *hooksReader) condition(n *yaml.Node) (controlclient.AdvancedFilter, error) {
	var key, operator string
	var values []string
	value := func(n *yaml.Node) error {
		if n.Kind == yaml.SequenceNode {
			var ends []string
			err := r.texts(&ends, n, "a range")
			values = append(values, strings.Join(ends, ","))
			return err
		}
		var text string
		err := r.text(&text, "a value", nil)(n)
		values = append(values, text)
		return err
	}
	err := r.members(n, "an advanced filter", map[string]func(*yaml.Node) error{
		"operatorType": r.text(&operator, "operatorType", nil),
		"key":          r.text(&key, "key", nil),
		"value":        value,
		"values":       func(n *yaml.Node) error { return r.elements(n, "values", value) },
	})
	if err != nil {
		return controlclient.AdvancedFilter{}, err
	}
	c, err := condition(key, operator, values)
	if err != nil {
		return c, r.refuse(n, "advancedFilters: %s", err)
	}
	return c, nil
}

// attribute reads a delivery attribute, as az prints one.
func (r *hooksReader) attribute(n *yaml.Node) (controlclient.DeliveryAttribute, error) {
	var name, value, field string
	var secret, static bool
	err := r.members(n, "a delivery attribute", map[string]func(*yaml.Node) error{
		"name": r.text(&name, "name", nil),
		"type": r.word(new(string), "type", []string{"Static", "Dynamic"}),
		"value": func(n *yaml.Node) error {
			static = true
			return r.secret(&value, "value of a delivery attribute", nil)(n)
		},
		"isSecret":    r.truth(&secret, "isSecret"),
		"sourceField": r.text(&field, "sourceField", nil),
	})
	switch {
	case err != nil:
		return controlclient.DeliveryAttribute{}, err
	case name == "":
		return controlclient.DeliveryAttribute{}, r.refuse(n, "a delivery attribute has no name: write for example {name: X-Repository, sourceField: data.target.repository}")
	case static == (field != ""):
		return controlclient.DeliveryAttribute{}, r.refuse(n, "the delivery attribute %s has either a value, or a sourceField, which is a member of the event", clipped(name))
	case field != "":
		return dynamicAttribute(name, field), nil
	}
	return staticAttribute(name, value, secret), nil
}

// broker reads how a broker is spoken to; n is nil if the file does not say.
func (r *hooksReader) broker(d *controlclient.Destination, n *yaml.Node) error {
	p := &d.Properties
	nats, kafka := d.EndpointType == controlclient.ToNatsJetStream, d.EndpointType == controlclient.ToKafka
	if nats || kafka {
		p.Mode = brokerModes[0]
	}
	if kafka {
		p.Key = usualKey
	}
	switch {
	case n == nil || isNull(n):
		return nil
	case !nats && !kafka:
		return r.refuse(n, "broker is for the addresses of NATS and Kafka, such as %s", brokerForms[controlclient.ToNatsJetStream])
	}
	tls := controlclient.BrokerTLS{}
	if p.TLS != nil {
		tls = *p.TLS
	}
	known := map[string]func(*yaml.Node) error{
		"mode":     r.word(&p.Mode, "mode", brokerModes),
		"username": r.secret(&p.Username, "username", nil),
		"password": r.secret(&p.Password, "password", nil),
		"tls": func(n *yaml.Node) error {
			tls.Enabled = true
			return r.members(n, "tls of a broker", map[string]func(*yaml.Node) error{
				"enabled":     r.truth(&tls.Enabled, "enabled"),
				"ca":          r.secret(&tls.CA, "ca", nil),
				"certificate": r.secret(&tls.Certificate, "certificate", nil),
				"key":         r.secret(&tls.Key, "key", nil),
			})
		},
	}
	if nats {
		known["token"] = r.secret(&p.Token, "token", nil)
		known["credentials"] = r.secret(&p.Credentials, "credentials", nil)
	} else {
		known["key"] = r.word(&p.Key, "key", recordKeys)
		known["mechanism"] = r.word(&p.Mechanism, "mechanism", saslMechanisms)
	}
	if err := r.members(n, "the broker of a "+d.EndpointType+" destination", known); err != nil {
		return err
	}
	if kafka && p.Username != "" && p.Mechanism == "" {
		return r.refuse(n, "a user of Kafka logs in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: choose with mechanism")
	}
	if tls != (controlclient.BrokerTLS{}) {
		p.TLS = &tls
	}
	return nil
}

// texts reads a list of any texts.
func (r *hooksReader) texts(dest *[]string, n *yaml.Node, what string) error {
	return r.elements(n, what, func(n *yaml.Node) error {
		var one string
		if err := r.text(&one, "an element of "+what, nil)(n); err != nil {
			return err
		}
		*dest = append(*dest, one)
		return nil
	})
}

// within reads a whole number of a range.
func (r *hooksReader) within(dest *int, what string, least, most int) func(*yaml.Node) error {
	return func(n *yaml.Node) error {
		if err := r.number(dest, what)(n); err != nil {
			return err
		}
		if *dest < least || *dest > most {
			return r.refuse(n, "%s: %d is out of range: use %d to %d", what, *dest, least, most)
		}
		return nil
	}
}

// checkSubscriptionName is the server's rule for names.
func checkSubscriptionName(name string) error {
	bad := func(c rune) bool {
		return c != '-' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	}
	if len(name) < 3 || len(name) > 64 || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("event subscription name %q breaks the rule: use 3 to 64 letters, digits and dashes, for example on-push", clipped(name))
	}
	return nil
}

// checkEndpoint checks the form of an address, which may be secret.
func checkEndpoint(endpoint string) error {
	_, err := parseEndpoint(endpoint, "")
	return err
}
