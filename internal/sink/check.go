package sink

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nkeys"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/outbound"
)

// Limits of a Server, in bytes but for the first.
const (
	maxAddresses  = 16
	maxAddress    = 255 + len(":65535")
	maxCredential = 4 << 10 // of a user name, password or token
	maxCreds      = 16 << 10
	maxSubject    = 255
	maxTopic      = 249
)

// mechanisms are those of SASL.
var mechanisms = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}

// Check decides whether s may be saved. It fails with fault.Invalid, and a sentence
// that holds nothing secret. Whether the addresses may be rung is for
// outbound.Policy.
func (s Server) Check() error {
	if err := s.check(); err != nil {
		return err
	}
	return outbound.CheckTLS(s.TLS)
}

// check is Check but for the TLS settings, which may have expired since they were
// saved.
func (s Server) check() error {
	if s.Kind != NATS && s.Kind != Kafka {
		return invalid("a broker of the kind %.20q is none there is: use nats or kafka", string(s.Kind))
	}
	switch n := len(s.Addresses); {
	case n == 0:
		return invalid("the broker has no address: name at least one server as host:port")
	case n > maxAddresses:
		return invalid("the broker has %d addresses: it may have %d", n, maxAddresses)
	}
	for _, address := range s.Addresses {
		if err := checkAddress(address); err != nil {
			return err
		}
	}
	for _, c := range []struct {
		name, value string
		max         int
	}{{"user name", s.Username, maxCredential}, {"password", s.Password, maxCredential}, {"token", s.Token, maxCredential}, {"credentials file", s.Creds, maxCreds}} {
		if len(c.value) > c.max {
			return invalid("the %s has %d bytes: it may have %d", c.name, len(c.value), c.max)
		}
		if strings.ContainsRune(c.value, 0) {
			return invalid("the %s has a zero byte: no broker takes one", c.name)
		}
	}
	if (s.Username == "") != (s.Password == "") {
		return invalid("a user name and a password go together: give both or neither")
	}
	if s.Kind == Kafka {
		return s.checkSASL()
	}
	return s.checkNATS()
}

func (s Server) checkSASL() error {
	switch {
	case s.Token != "" || s.Creds != "":
		return invalid("Kafka takes neither a token nor a credentials file: give a user name and a password, or a client certificate")
	case s.Username == "" && s.Mechanism != "":
		return invalid("the SASL mechanism %.20q has no user name: give a user name and a password", s.Mechanism)
	case s.Username != "" && !slices.Contains(mechanisms, s.Mechanism):
		return invalid("the SASL mechanism %.20q is none there is: use %s", s.Mechanism, "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
	}
	return nil
}

func (s Server) checkNATS() error {
	ways := 0
	for _, way := range []string{s.Username, s.Token, s.Creds} {
		if way != "" {
			ways++
		}
	}
	switch {
	case s.Mechanism != "":
		return invalid("NATS has no SASL mechanism: leave it out")
	case ways > 1:
		return invalid("NATS takes one of a user name with its password, a token and a credentials file: give one of them")
	case s.Creds != "":
		return checkCreds([]byte(s.Creds))
	}
	return nil
}

// checkCreds looks for what a credentials file has: a token of the user's and the
// seed of the user's key.
func checkCreds(text []byte) error {
	const rule = "give the whole text of the file, as nsc or nats auth wrote it"
	token, err := nkeys.ParseDecoratedJWT(text)
	if err != nil || strings.Count(token, ".") != 2 || strings.ContainsAny(token, " \t\r\n") {
		return invalid("the credentials file holds no user JWT: %s", rule)
	}
	key, err := nkeys.ParseDecoratedUserNKey(text)
	if err != nil {
		return invalid("the credentials file holds no seed of a user's key: %s", rule)
	}
	key.Wipe()
	return nil
}

func checkAddress(address string) error {
	const rule = "name a server as host:port, for example broker.example.net:9092"
	if len(address) > maxAddress {
		return invalid("an address of the broker has %d bytes: it may have %d", len(address), maxAddress)
	}
	if strings.ContainsAny(address, "@/") { // may be a URL with a password in it
		return invalid("an address of the broker is written as a URL: %s", rule)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`,?#%"\<>`, r) }) {
		return invalid("the address %.80q of the broker has another form: %s", address, rule)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return invalid("the address %.80q of the broker has no port from 1 to 65535: %s", address, rule)
	}
	return nil
}

// CheckTopic decides whether messages may be published to topic: a subject of NATS
// without wildcards, at most 255 bytes, none of the server's own that begin with $,
// or a topic of Kafka. It fails with fault.Invalid.
func CheckTopic(k Kind, topic string) error {
	switch {
	case k == Kafka:
		return checkKafkaTopic(topic)
	case topic == "":
		return invalid("the subject is empty: name one that a stream takes, for example registry.events")
	case len(topic) > maxSubject:
		return invalid("the subject has %d bytes: it may have %d", len(topic), maxSubject)
	case strings.ContainsFunc(topic, func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd }):
		return invalid("the subject %.80q has a blank or a control character: leave it out", topic)
	case strings.ContainsAny(topic, "*>"):
		return invalid("the subject %.80q has a wildcard: messages are published to one subject", topic)
	case strings.HasPrefix(topic, "$"):
		return invalid("the subject %.80q begins with $, as those of the server itself do: name another", topic)
	case slices.Contains(strings.Split(topic, "."), ""):
		return invalid("the subject %.80q has nothing before, between or behind its dots: write it as registry.events", topic)
	}
	return nil
}

func checkKafkaTopic(topic string) error {
	switch {
	case topic == "":
		return invalid("the topic is empty: name one, for example registry-events")
	case len(topic) > maxTopic:
		return invalid("the topic has %d bytes: it may have %d", len(topic), maxTopic)
	case topic == "." || topic == "..":
		return invalid("%q is no topic: name one, for example registry-events", topic)
	case topic == "__consumer_offsets" || topic == "__transaction_state":
		return invalid("the topic %q is one of Kafka's own: name another", topic)
	case strings.ContainsFunc(topic, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
	}):
		return invalid("the topic %.80q has other characters than letters, digits, dots, underscores and hyphens", topic)
	}
	return nil
}

func invalid(format string, args ...any) error { return fault.New(fault.Invalid, format, args...) }

// checkMessages looks for what would break the protocol or the limits, before any of
// it is sent.
func checkMessages(k Kind, messages []Message) *failure {
	for _, m := range messages {
		if err := CheckTopic(k, m.Topic); err != nil {
			return &failure{class: outbound.Refused, message: err.Error()}
		}
		if strings.ContainsAny(m.ID, "\r\n") {
			return &failure{class: outbound.Refused, message: "the id of the message has a line break"}
		}
		size := len(m.Key) + len(m.ID)
		for _, f := range m.Header {
			if err := CheckField(k, f); err != nil {
				return &failure{class: outbound.Refused, message: err.Error()}
			}
			size += len(f.Name) + len(f.Value)
		}
		if len(m.Body) > MaxMessage {
			return answered(http.StatusRequestEntityTooLarge, "the message has "+strconv.Itoa(len(m.Body))+" bytes, and this server sends "+strconv.Itoa(MaxMessage)+" at the most: nothing was sent")
		}
		if size > MaxHeader {
			return answered(http.StatusRequestEntityTooLarge, "header and key of the message have "+strconv.Itoa(size)+" bytes, and this server sends "+strconv.Itoa(MaxHeader)+" at the most: nothing was sent")
		}
	}
	return nil
}

// CheckField decides whether messages may have a header field of that name and
// value. It fails with fault.Invalid, and a sentence that does not hold the value.
func CheckField(k Kind, f Field) error {
	if why := checkField(k, f); why != "" {
		return invalid("the header field %.80q %s", f.Name, why)
	}
	return nil
}

// checkField says what is wrong with a header field, if anything. A name of NATS is
// one of HTTP, and those that begin with Nats- are orders to the server.
func checkField(k Kind, f Field) string {
	switch {
	case f.Name == "":
		return "has no name"
	case k == NATS && !outbound.IsToken(f.Name):
		return "has a name with other characters than letters, digits and hyphens"
	case k == NATS && len(f.Name) >= 5 && strings.EqualFold(f.Name[:5], "Nats-"):
		return "is an order to the NATS server, and not for messages: name it otherwise"
	case !outbound.IsFieldValue(f.Name):
		return "has a name with a control character"
	case !outbound.IsFieldValue(f.Value):
		return "has a value with a line break or another control character"
	}
	return ""
}
