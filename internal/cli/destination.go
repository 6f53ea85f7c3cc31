package cli

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// destinationType is a flag whose value is a type of destination, in any case.
type destinationType struct{ value string } // as the server has it; empty while the flag was not given

// destinationTypes are the types there are, in words of the flag and of the
// server.
var destinationTypes = []struct{ word, wire string }{
	{"webhook", controlclient.ToWebHook},
	{"natsjetstream", controlclient.ToNatsJetStream},
	{"kafka", controlclient.ToKafka},
}

// azureTypes are az's that there are not, with what to use in their place; empty
// where there is nothing like it.
var azureTypes = map[string]string{
	"azurefunction":      "give the function's https address with --endpoint-type webhook",
	"eventhub":           "an event hub speaks Kafka: give that address, with --endpoint-type kafka",
	"hybridconnection":   "",
	"monitoralert":       "",
	"namespacetopic":     "",
	"partnerdestination": "",
	"servicebusqueue":    "",
	"servicebustopic":    "",
	"storagequeue":       "",
}

// Set takes a type.
func (t *destinationType) Set(s string) error {
	var words []string
	for _, d := range destinationTypes {
		if strings.EqualFold(s, d.word) {
			t.value = d.wire
			return nil
		}
		words = append(words, d.word)
	}
	if instead, ok := azureTypes[strings.ToLower(s)]; ok {
		return Usage("%s is a service of Azure, which is not told of events here: %s", strings.ToLower(s), firstOf(instead, "use one of "+strings.Join(words, ", ")))
	}
	_, err := choose(s, words)
	return err
}

// String returns nothing, which is the default that help shows.
func (t *destinationType) String() string { return "" }

// Type returns the word for the value in help.
func (t *destinationType) Type() string { return "webhook|natsjetstream|kafka" }

// address is where events go, as one text says it: an http or https URL, which may
// be secret, or SCHEME://host:port,host:port/name for brokers.
type address struct {
	ofType  string // as the server has it
	url     string // of a WebHook
	servers []string
	name    string // of the subject or topic
	secure  bool   // TLS
}

// defaultPorts are those of brokers whose addresses have none.
var defaultPorts = map[string]string{controlclient.ToNatsJetStream: "4222", controlclient.ToKafka: "9092"}

// brokerForms show what the addresses of brokers look like.
var brokerForms = map[string]string{
	controlclient.ToNatsJetStream: "nats://host:4222/subject, or tls://host:4222/subject for TLS",
	controlclient.ToKafka:         "kafka://host:9092,host2:9092/topic",
}

// parseEndpoint reads an address. An empty type is what the address says. No error
// repeats what may be secret.
func parseEndpoint(endpoint, ofType string) (address, error) {
	scheme, rest, found := strings.Cut(endpoint, "://")
	says := map[string]string{
		"http": controlclient.ToWebHook, "https": controlclient.ToWebHook,
		"nats": controlclient.ToNatsJetStream, "kafka": controlclient.ToKafka, "tls": controlclient.ToNatsJetStream,
	}[strings.ToLower(scheme)]
	secure := strings.EqualFold(scheme, "tls")
	switch {
	case !found || says == "":
		return address{}, fmt.Errorf("this is no address that can be told of events: use one like https://hooks.example.net/in, nats://host:4222/subject or kafka://host:9092/topic")
	case ofType != "" && ofType != says:
		if form := brokerForms[ofType]; form != "" {
			return address{}, fmt.Errorf("the address of a broker of this type looks like %s", form)
		}
		return address{}, fmt.Errorf("the address of an HTTP receiver looks like https://hooks.example.net/in")
	case says == controlclient.ToWebHook:
		if u, err := url.Parse(endpoint); err != nil || u.Hostname() == "" {
			return address{}, fmt.Errorf("this is no http or https address: write one like https://hooks.example.net/in")
		}
		return address{ofType: says, url: endpoint}, nil
	}
	form := brokerForms[says]
	if strings.Contains(rest, "@") {
		return address{}, fmt.Errorf("user and password do not go into the address of a broker, which is %s: give them by themselves", form)
	}
	hosts, name, _ := strings.Cut(rest, "/")
	if hosts == "" || name == "" || strings.ContainsAny(name, "/?#") || strings.ContainsAny(rest, " \t\r\n") {
		return address{}, fmt.Errorf("this is no address of a broker, which is %s", form)
	}
	a := address{ofType: says, name: name, secure: secure}
	for host := range strings.SplitSeq(hosts, ",") {
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), defaultPorts[says])
		}
		if h, port, err := net.SplitHostPort(host); err != nil || h == "" || port == "" {
			return address{}, fmt.Errorf("this is no address of a broker, which is %s", form)
		}
		a.servers = append(a.servers, host)
	}
	return a, nil
}

// aim makes the address that of a destination. How a broker is spoken to stays,
// unless it was none: that a connection is not encrypted any more is said by itself.
func (a address) aim(d *controlclient.Destination) {
	p := d.Properties
	if d.EndpointType != a.ofType {
		p = controlclient.DestinationProperties{}
	}
	p.EndpointURL, p.Servers, p.Subject, p.Topic = a.url, a.servers, "", ""
	switch a.ofType {
	case controlclient.ToNatsJetStream:
		p.Subject = a.name
	case controlclient.ToKafka:
		p.Topic = a.name
	}
	if a.secure {
		tls := controlclient.BrokerTLS{}
		if p.TLS != nil {
			tls = *p.TLS
		}
		tls.Enabled = true
		p.TLS = &tls
	}
	*d = controlclient.Destination{EndpointType: a.ofType, Properties: p}
}

// addressOf returns the address of a destination as tables have it: without the
// query of a URL.
func addressOf(d controlclient.Destination) string {
	p := d.Properties
	switch d.EndpointType {
	case controlclient.ToNatsJetStream:
		return "nats://" + strings.Join(p.Servers, ",") + "/" + p.Subject
	case controlclient.ToKafka:
		return "kafka://" + strings.Join(p.Servers, ",") + "/" + p.Topic
	}
	return p.EndpointBaseURL
}
