package arm

import (
	"encoding/json"
	"strings"

	"github.com/dockbell/dockbell/internal/subscription"
	"github.com/dockbell/dockbell/internal/webhook"
)

// destinationInput is where a subscription is to be told of events.
type destinationInput typedInput

type (
	webhookDestinationInput struct {
		URL         member[string]           `json:"endpointUrl"`
		MaxEvents   member[int]              `json:"maxEventsPerBatch"`
		PreferredKB member[int]              `json:"preferredBatchSizeInKilobytes"`
		MinTLS      member[string]           `json:"minimumTlsVersionAllowed"`
		Attributes  member[[]attributeInput] `json:"deliveryAttributeMappings"`
		Tenant      member[string]           `json:"azureActiveDirectoryTenantId"`
		Application member[string]           `json:"azureActiveDirectoryApplicationIdOrUri"`
	}

	// brokerInput is not Event Grid's. A topic is Kafka's, a subject NATS's, and so
	// are mechanism and key, token and credentials.
	brokerInput struct {
		Servers     member[[]string]         `json:"servers"`
		Topic       member[string]           `json:"topic"`
		Subject     member[string]           `json:"subject"`
		Mode        member[string]           `json:"mode"` // structured, the default, or binary
		Key         member[string]           `json:"key"`
		Username    member[string]           `json:"username"`
		Password    member[string]           `json:"password"`
		Mechanism   member[string]           `json:"mechanism"`
		Token       member[string]           `json:"token"`
		Credentials member[string]           `json:"credentials"`
		TLS         member[brokerTLSInput]   `json:"tls"`
		Attributes  member[[]attributeInput] `json:"deliveryAttributeMappings"`
	}

	// brokerTLSInput is PEM but for its first member.
	brokerTLSInput struct {
		Enabled     member[bool]   `json:"enabled"`
		CA          member[string] `json:"ca"`
		Certificate member[string] `json:"certificate"`
		Key         member[string] `json:"key"`
	}

	attributeInput struct {
		Name       string                    `json:"name"`
		Type       string                    `json:"type"`
		Properties member[attributeProperty] `json:"properties"`
	}
	attributeProperty struct {
		Value       member[string] `json:"value"`
		Secret      member[bool]   `json:"isSecret"`
		SourceField member[string] `json:"sourceField"`
	}
)

// instead says what there is in the place of each kind of destination that is
// Azure's alone.
var instead = map[string]string{
	"AzureFunction":      "use WebHook with the address of the function",
	"EventHub":           "use Kafka, which event hubs speak on port 9093: username $ConnectionString, and the connection string as password",
	"ServiceBusQueue":    "use NatsJetStream or Kafka, or WebHook with a program that fills the queue",
	"ServiceBusTopic":    "use NatsJetStream or Kafka, or WebHook with a program that fills the topic",
	"HybridConnection":   "use WebHook: this server reaches private addresses itself, with --allow-destinations",
	"StorageQueue":       "use NatsJetStream, whose streams keep messages until they are taken",
	"NamespaceTopic":     "use NatsJetStream or Kafka",
	"MonitorAlert":       "use WebHook with the address of whatever alerts people",
	"PartnerDestination": "use WebHook with the address of the partner's service",
}

// destination reads a destination, which is at path in the body. What only the rules
// can tell, such as whether an address may be rung, is for package subscription.
func (in destinationInput) destination(path string) (*subscription.Destination, error) {
	for _, known := range []struct {
		kind subscription.Type
		read func(path string, properties json.RawMessage) (*subscription.Destination, error)
	}{
		{subscription.WebHook, readWebhookDestination},
		{subscription.NatsJetStream, readNATS},
		{subscription.Kafka, readKafka},
	} {
		if strings.EqualFold(in.EndpointType, string(known.kind)) {
			d, err := known.read(path+".properties", in.Properties)
			if err != nil {
				return nil, err
			}
			d.Type = known.kind
			return d, nil
		}
	}
	for azures, advice := range instead {
		if strings.EqualFold(in.EndpointType, azures) {
			return nil, invalidRequest("%s.endpointType %s is a service of Azure's, which this server has no part in: %s", path, azures, advice)
		}
	}
	if in.EndpointType == "" {
		return nil, invalidRequest("%s.endpointType is missing: use WebHook, NatsJetStream or Kafka", path)
	}
	return nil, invalidRequest("%s.endpointType %q is none: use WebHook, NatsJetStream or Kafka", path, clip(in.EndpointType))
}

func readWebhookDestination(path string, properties json.RawMessage) (*subscription.Destination, error) {
	var in webhookDestinationInput
	if err := readProperties(path, properties, &in); err != nil {
		return nil, err
	}
	if in.Tenant.orZero() != "" || in.Application.orZero() != "" {
		return nil, invalidRequest("%s.azureActiveDirectoryTenantId and azureActiveDirectoryApplicationIdOrUri are not possible: this server has no identity in Microsoft Entra, "+
			"so it cannot get the token that they ask for; use a secret delivery attribute named Authorization", path)
	}
	d := &subscription.Destination{URL: in.URL.orZero(), MinTLS: in.MinTLS.orZero()}
	for _, m := range []struct {
		name string
		sent member[int]
		most int
		into *int
	}{
		{"maxEventsPerBatch", in.MaxEvents, 5000, &d.MaxEvents},
		{"preferredBatchSizeInKilobytes", in.PreferredKB, 1024, &d.PreferredKB},
	} {
		if m.sent.value == nil {
			continue
		}
		if *m.into = *m.sent.value; *m.into < 1 || *m.into > m.most {
			return nil, invalidRequest("%s.%s is %d: use 1 to %d", path, m.name, *m.into, m.most)
		}
	}
	var err error
	d.Attributes, err = attributesOf(path, in.Attributes)
	return d, err
}

func readNATS(path string, properties json.RawMessage) (*subscription.Destination, error) {
	return readBroker(path, properties, func(in brokerInput) (b *subscription.Broker, wrong string) {
		if name := firstOf(named{"topic", in.Topic}, named{"key", in.Key}, named{"mechanism", in.Mechanism}); name != "" {
			return nil, name + " is Kafka's: NATS has servers, subject, mode, username, password, token, credentials and tls"
		}
		return &subscription.Broker{Topic: in.Subject.orZero(), Token: in.Token.orZero(), Creds: in.Credentials.orZero()}, ""
	})
}

func readKafka(path string, properties json.RawMessage) (*subscription.Destination, error) {
	return readBroker(path, properties, func(in brokerInput) (b *subscription.Broker, wrong string) {
		if name := firstOf(named{"subject", in.Subject}, named{"token", in.Token}, named{"credentials", in.Credentials}); name != "" {
			return nil, name + " is NATS's: Kafka has servers, topic, mode, key, username, password, mechanism and tls"
		}
		return &subscription.Broker{Topic: in.Topic.orZero(), Key: in.Key.orZero(), Mechanism: in.Mechanism.orZero()}, ""
	})
}

// named is a member and its name.
type named struct {
	name string
	member[string]
}

// firstOf returns the name of the first member that is not empty.
func firstOf(members ...named) string {
	for _, m := range members {
		if m.orZero() != "" {
			return m.name
		}
	}
	return ""
}

// readBroker reads what brokers have in common; own reads the rest, or says what is
// not of this kind of broker.
func readBroker(path string, properties json.RawMessage, own func(brokerInput) (*subscription.Broker, string)) (*subscription.Destination, error) {
	var in brokerInput
	if err := readProperties(path, properties, &in); err != nil {
		return nil, err
	}
	b, wrong := own(in)
	if wrong != "" {
		return nil, invalidRequest("%s.%s", path, wrong)
	}
	switch mode := strings.ToLower(in.Mode.orZero()); mode {
	case "", "structured":
	case "binary":
		b.Binary = true
	default:
		return nil, invalidRequest("%s.mode %q is none: use structured or binary, the modes of CloudEvents", path, clip(mode))
	}
	b.Servers, b.Username, b.Password = in.Servers.orZero(), in.Username.orZero(), in.Password.orZero()
	tls := in.TLS.orZero()
	b.Secure = tls.Enabled.orZero()
	if text := tls.CA.orZero() + tls.Certificate.orZero() + tls.Key.orZero(); text != "" {
		if tls.Enabled.value != nil && !b.Secure {
			return nil, invalidRequest("%s.tls has certificates, and enabled is false: leave one of them out", path)
		}
		b.Secure = true
		b.TLS = &webhook.TLS{CA: []byte(tls.CA.orZero()), Certificate: []byte(tls.Certificate.orZero()), Key: []byte(tls.Key.orZero())}
	}
	attributes, err := attributesOf(path, in.Attributes)
	return &subscription.Destination{Broker: b, Attributes: attributes}, err
}

// The types of delivery attributes.
const (
	static  = "Static"
	dynamic = "Dynamic"
)

// attributesOf returns nil for an absent member.
func attributesOf(path string, m member[[]attributeInput]) ([]subscription.Attribute, error) {
	if !m.present {
		return nil, nil
	}
	all := make([]subscription.Attribute, 0, len(m.orZero()))
	for i, in := range m.orZero() {
		p := in.Properties.orZero()
		a := subscription.Attribute{Name: in.Name, Value: p.Value.orZero(), Secret: p.Secret.orZero(), SourceField: p.SourceField.orZero()}
		switch {
		case strings.EqualFold(in.Type, static) && a.SourceField == "":
		case strings.EqualFold(in.Type, dynamic) && a.SourceField != "" && a.Value == "" && !a.Secret:
		case strings.EqualFold(in.Type, static):
			return nil, invalidRequest("%s.deliveryAttributeMappings[%d] is %s and has a sourceField: give it a value, or make it %s", path, i, static, dynamic)
		case strings.EqualFold(in.Type, dynamic) && a.SourceField == "":
			return nil, invalidRequest("%s.deliveryAttributeMappings[%d] has no sourceField: name a member of the event, for example data.target.repository", path, i)
		case strings.EqualFold(in.Type, dynamic):
			return nil, invalidRequest("%s.deliveryAttributeMappings[%d] is %s and has a value: give it a sourceField alone, or make it %s", path, i, dynamic, static)
		default:
			return nil, invalidRequest("%s.deliveryAttributeMappings[%d] has the type %q: use %s or %s", path, i, clip(in.Type), static, dynamic)
		}
		all = append(all, a)
	}
	return all, nil
}

// The wire forms of destinations.
type (
	webhookDestinationBody struct {
		URL         *string         `json:"endpointUrl"` // null: it is write-only
		BaseURL     string          `json:"endpointBaseUrl"`
		MaxEvents   int             `json:"maxEventsPerBatch"`
		PreferredKB int             `json:"preferredBatchSizeInKilobytes"`
		Tenant      *string         `json:"azureActiveDirectoryTenantId"`           // null
		Application *string         `json:"azureActiveDirectoryApplicationIdOrUri"` // null
		MinTLS      string          `json:"minimumTlsVersionAllowed,omitempty"`
		Attributes  []attributeBody `json:"deliveryAttributeMappings"`
	}
	brokerBody struct {
		Servers     []string        `json:"servers"`
		Topic       string          `json:"topic,omitempty"`
		Subject     string          `json:"subject,omitempty"`
		Mode        string          `json:"mode"`
		Key         string          `json:"key,omitempty"`
		Username    *string         `json:"username"`
		Password    *string         `json:"password"`
		Mechanism   string          `json:"mechanism,omitempty"`
		Token       *string         `json:"token,omitempty"`
		Credentials *string         `json:"credentials,omitempty"`
		TLS         brokerTLSBody   `json:"tls"`
		Attributes  []attributeBody `json:"deliveryAttributeMappings"`
	}
	brokerTLSBody struct {
		Enabled     bool    `json:"enabled"`
		CA          *string `json:"ca"`
		Certificate *string `json:"certificate"`
		Key         *string `json:"key"`
	}
	attributeBody struct {
		Name       string `json:"name"`
		Type       string `json:"type"`
		Properties any    `json:"properties"`
	}
	staticBody struct {
		Value  string `json:"value"`
		Secret bool   `json:"isSecret"`
	}
	dynamicBody struct {
		SourceField string `json:"sourceField"`
	}
)

// destinationToWire shows a destination. Of a secret it says at most that there is
// one.
func destinationToWire(d subscription.Destination) typedBody {
	body := typedBody{EndpointType: string(d.Type)}
	attributes := attributesToWire(d.Attributes, false)
	if d.Broker == nil {
		body.Properties = webhookDestinationBody{
			BaseURL: d.BaseURL, MaxEvents: d.MaxEvents, PreferredKB: d.PreferredKB, MinTLS: d.MinTLS, Attributes: attributes,
		}
		return body
	}
	b := d.Broker
	shown := brokerBody{Servers: b.Servers, Mode: "structured", Username: optional(b.Username), Password: hidden(b.Password), TLS: brokerTLSBody{Enabled: b.Secure}, Attributes: attributes}
	if b.Binary {
		shown.Mode = "binary"
	}
	if d.Type == subscription.Kafka {
		shown.Topic, shown.Key, shown.Mechanism = b.Topic, b.Key, b.Mechanism
	} else {
		shown.Subject, shown.Token, shown.Credentials = b.Topic, hidden(b.Token), hidden(b.Creds)
	}
	if b.TLS != nil {
		shown.TLS.CA, shown.TLS.Certificate, shown.TLS.Key = hidden(string(b.TLS.CA)), hidden(string(b.TLS.Certificate)), hidden(string(b.TLS.Key))
	}
	body.Properties = shown
	return body
}

// hidden stands for a secret, whatever it is; nil for none.
func hidden(secret string) *string {
	if secret == "" {
		return nil
	}
	return new(subscription.Hidden)
}

// optional returns nil for an empty text.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// attributesToWire returns nil for none. Values that are secret are hidden, unless
// they are to be shown.
func attributesToWire(all []subscription.Attribute, secrets bool) (bodies []attributeBody) {
	for _, a := range all {
		if a.Secret && !secrets {
			a.Value = subscription.Hidden
		}
		if a.SourceField != "" {
			bodies = append(bodies, attributeBody{a.Name, dynamic, dynamicBody{a.SourceField}})
			continue
		}
		bodies = append(bodies, attributeBody{a.Name, static, staticBody{a.Value, a.Secret}})
	}
	return bodies
}
