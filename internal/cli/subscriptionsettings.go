package cli

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dockbell/dockbell/internal/controlclient"
)

// What the flags of an event subscription may say.
var (
	deliverySchemas = []string{"EventGridSchema", cloudEventSchema}
	brokerModes     = []string{"structured", "binary"}
	recordKeys      = []string{"none", "repository", "subject"}
	saslMechanisms  = []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}
)

const cloudEventSchema = "CloudEventSchemaV1_0"

// subscriptionSettings are the flags that say which events a subscription wants,
// and how and where it is told of them.
type subscriptionSettings struct {
	endpoint string // secret
	ofType   destinationType
	schema   choiceValue

	types              textList
	beginsWith         string
	endsWith           string
	caseSensitive      truth
	conditions         conditionList
	arrays             truth
	attributes         attributeList
	maxEvents, batchKB number[int]
	attempts, ttl      number[int]
	deadLetters        string
	labels             textList
	expires            string

	broker brokerSettings
}

// brokerSettings are the flags for NATS and Kafka.
type brokerSettings struct {
	mode, recordKey, mechanism choiceValue
	username                   string
	password                   string
	passwordStdin              bool
	token                      string
	credentials                string // name of a file
	tls                        truth
	ca, certificate, key       string // names of files
}

// Environment variables with what is better in no command line.
const (
	brokerPasswordVariable = "DOCKBELL_BROKER_PASSWORD"
	brokerTokenVariable    = "DOCKBELL_BROKER_TOKEN"
)

// The flags that are for one kind of destination only.
var (
	webhookOnly = []string{"max-events-per-batch", "preferred-batch-size-in-kilobytes"}
	natsOnly    = []string{"broker-token", "broker-creds"}
	kafkaOnly   = []string{"record-key", "sasl-mechanism"}
	brokerOnly  = []string{"mode", "username", "password", "password-stdin", "tls", "ca", "certificate", "key"}
)

// The flags of az that are refused, with the reasons.
var notOffered = map[string]string{
	"azure-active-directory-tenant-id":             noEntra,
	"azure-active-directory-application-id-or-uri": noEntra,
	"delivery-identity":                            noIdentity,
	"delivery-identity-endpoint":                   noIdentity,
	"delivery-identity-endpoint-type":              noIdentity,
	"deadletter-identity":                          noDeadLetterIdentity,
	"deadletter-identity-endpoint":                 noDeadLetterIdentity,
	"storage-queue-msg-ttl":                        "there are no storage queues here: leave it out",
	"set":                                          noGeneric,
	"add":                                          noGeneric,
	"remove":                                       noGeneric,
}

const (
	noEntra              = "requests carry no token of Microsoft Entra: have the receiver check a secret of its own, by --delivery-attribute-mapping Authorization static 'Bearer …' true"
	noIdentity           = "there are no managed identities here: give the address with --endpoint, and secrets with --delivery-attribute-mapping or --username"
	noGeneric            = "every property has a flag of its own here: see --help"
	noDeadLetterIdentity = "there are no managed identities here, and dead letters are files of the server: name a folder with --deadletter-endpoint"
)

func (s *subscriptionSettings) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	alias(flags, map[string]string{
		"enable-af-arr": "enable-advanced-filtering-on-arrays", "qttl": "storage-queue-msg-ttl",
		"aad-tenant-id": "azure-active-directory-tenant-id", "aad-app-id": "azure-active-directory-application-id-or-uri",
	})
	flags.StringVar(&s.endpoint, "endpoint", "", "where to tell of events: an `address` like https://hooks.example.net/in?code=x, whose query is kept secret, nats://host:4222/subject or kafka://host:9092,host2:9092/topic")
	flags.Var(&s.ofType, "endpoint-type", "what that is; unless given, what the address says")
	s.schema.allowed = deliverySchemas
	flags.Var(&s.schema, "event-delivery-schema", "how an event is told; EventGridSchema unless set, and CloudEventSchemaV1_0 to a broker")
	flags.Var(&s.attributes, "delivery-attribute-mapping", `header to send: NAME static VALUE true, or false for one that is no secret, or NAME dynamic MEMBER of the event; may be given up to ten times; "" for none`)
	Group(flags, "Where and how")

	flags.Var(&s.types, "included-event-types", "types of events, in full, separated by blanks; All for the default set, which is so unless set; dockbell event-subscription event-types lists them")
	flags.StringVar(&s.beginsWith, "subject-begins-with", "", "what the subject has to begin with, which is `repository:tag`, without wildcards")
	flags.StringVar(&s.endsWith, "subject-ends-with", "", "what the `subject` has to end with")
	s.caseSensitive.flag(flags, "subject-case-sensitive", "whether case matters for these two")
	flags.Var(&s.conditions, "advanced-filter", `condition on a member of the event: KEY OPERATOR VALUES, such as data.target.tag StringBeginsWith v1. v2.; ranges are 1,10; may be given more than once, and all have to hold; "" for none`)
	s.arrays.flag(flags, "enable-advanced-filtering-on-arrays", "have conditions look into arrays; also --enable-af-arr")
	Group(flags, "Which events")

	s.attempts.from, s.ttl.from = 1, 1
	flags.Var(&s.attempts, "max-delivery-attempts", "attempts for one event, 1 to 30; 30 unless set")
	flags.Var(&s.ttl, "event-ttl", "`minutes` from an event until it is given up, 1 to 1440; 1440, a day, unless set")
	s.maxEvents.from, s.batchKB.from = 1, 1
	flags.Var(&s.maxEvents, "max-events-per-batch", "the most events in one request, 1 to 5000; 1 unless set")
	flags.Var(&s.batchKB, "preferred-batch-size-in-kilobytes", "how large such a request is to be, 1 to 1024 `kilobytes`; 64 unless set")
	flags.StringVar(&s.deadLetters, "deadletter-endpoint", "", "`folder` of the server that gets files of what is given up, or what az has in its place: STORAGE-ID/blobServices/default/containers/FOLDER; \"\" for none")
	flags.StringVar(&s.expires, "expiration-date", "", "until `when` there are events, such as 2030-12-31 or 2030-12-31T12:59:59Z; \"\" for ever, which is so unless set")
	flags.Var(&s.labels, "labels", `labels of one's own, separated by blanks; "" for none`)
	Group(flags, "How hard it is tried, and how long")

	b := &s.broker
	b.mode.allowed, b.recordKey.allowed, b.mechanism.allowed = brokerModes, recordKeys, saslMechanisms
	flags.Var(&b.mode, "mode", "how a CloudEvent is a message: structured, the whole in the body, which is so unless set, or binary, its attributes in headers")
	flags.Var(&b.recordKey, "record-key", "what the key of a Kafka record is; repository unless set")
	flags.StringVar(&b.username, "username", "", "`name` of a user of the broker")
	flags.StringVar(&b.password, "password", "", "that user's `password`; else "+brokerPasswordVariable)
	flags.BoolVar(&b.passwordStdin, "password-stdin", false, "read that password from standard input")
	flags.Var(&b.mechanism, "sasl-mechanism", "how a user logs in to Kafka")
	flags.StringVar(&b.token, "broker-token", "", "`token` for NATS, in place of a user; else "+brokerTokenVariable)
	flags.StringVar(&b.credentials, "broker-creds", "", "credentials `file` for NATS, as nsc makes it; its text is sent to the server and kept secret")
	b.tls.flag(flags, "tls", "whether the connection is encrypted; it is with any of the files below, and if the address begins with tls:// in place of nats://")
	flags.StringVar(&b.ca, "ca", "", "PEM `file` of the authorities the broker's certificate must be from, in place of the system's")
	flags.StringVar(&b.certificate, "certificate", "", "PEM `file` of a certificate to show the broker")
	flags.StringVar(&b.key, "key", "", "PEM `file` of that certificate's key; kept secret")
	Group(flags, "Of NATS and Kafka")

	for name, reason := range notOffered {
		flags.Var(&unoffered{reason}, name, "")
		flags.Lookup(name).Hidden = true
	}
}

// definition returns the body of a create.
func (s *subscriptionSettings) definition(env Env, given *pflag.FlagSet) (def controlclient.EventSubscriptionWrite, err error) {
	def, err = s.common(given)
	if err != nil {
		return def, err
	}
	if def.Destination, err = s.destination(env, given, nil); err != nil {
		return def, err
	}
	def.Filter = s.filter(given, controlclient.SubscriptionFilter{})
	return def, nil
}

// changes returns what the flags that were given change. The server replaces
// destination, filter and retry policy as a whole; who changes a part of one means to
// keep the rest, so have is asked for what there is.
func (s *subscriptionSettings) changes(env Env, given *pflag.FlagSet, have func() (controlclient.EventSubscription, error)) (change controlclient.EventSubscriptionWrite, err error) {
	change, err = s.common(given)
	if err != nil {
		return change, err
	}
	have = sync.OnceValues(have)
	if p := change.RetryPolicy; p != nil && (p.MaxDeliveryAttempts == nil || p.EventTimeToLiveInMinutes == nil) {
		sub, err := have()
		if err != nil {
			return change, err
		}
		there := sub.Properties.RetryPolicy
		p.MaxDeliveryAttempts = cmp.Or(p.MaxDeliveryAttempts, there.MaxDeliveryAttempts)
		p.EventTimeToLiveInMinutes = cmp.Or(p.EventTimeToLiveInMinutes, there.EventTimeToLiveInMinutes)
	}
	elsewhere := changed(given, slices.Concat([]string{"endpoint", "endpoint-type", "delivery-attribute-mapping"}, webhookOnly, natsOnly, kafkaOnly, brokerOnly))
	otherwise := s.filter(given, controlclient.SubscriptionFilter{}) != nil
	if elsewhere == "" && !otherwise {
		return change, nil
	}
	sub, err := have()
	if err != nil {
		return change, err
	}
	if elsewhere != "" {
		if change.Destination, err = s.destination(env, given, &sub.Properties.Destination); err != nil {
			return change, err
		}
		if was := sub.Properties.Destination.EndpointType; was == controlclient.ToWebHook && change.Destination.EndpointType != was && s.schema.value == "" {
			change.EventDeliverySchema = cloudEventSchema // brokers are told in no other
		}
	}
	if otherwise {
		change.Filter = s.filter(given, sub.Properties.Filter)
	}
	return change, nil
}

// changed returns the first of the flags that was given, empty if none was.
func changed(given *pflag.FlagSet, names []string) string {
	for _, name := range names {
		if given.Changed(name) {
			return name
		}
	}
	return ""
}

// common returns what is neither destination nor filter.
func (s *subscriptionSettings) common(given *pflag.FlagSet) (w controlclient.EventSubscriptionWrite, err error) {
	w.EventDeliverySchema, w.Labels = s.schema.value, s.labels.texts
	if s.attempts.value != nil || s.ttl.value != nil {
		w.RetryPolicy = &controlclient.RetryPolicy{MaxDeliveryAttempts: s.attempts.value, EventTimeToLiveInMinutes: s.ttl.value}
	}
	if given.Changed("deadletter-endpoint") {
		to := deadLetterFolder(s.deadLetters)
		w.DeadLetterDestination = &to
	}
	if given.Changed("expiration-date") {
		var end deadline
		if s.expires != "" {
			if err := end.Set(s.expires); err != nil {
				return w, Usage("--expiration-date: %s", err)
			}
		}
		w.ExpirationTimeUTC = &controlclient.Expiry{Time: end.Time}
	}
	return w, nil
}

// deadLetterFolder takes apart what az has for a container of blobs: the folder is
// its name.
func deadLetterFolder(endpoint string) controlclient.DeadLetterDestination {
	const between = "/blobservices/default/containers/"
	if i := strings.Index(strings.ToLower(endpoint), between); i >= 0 {
		return controlclient.DeadLetterDestination{ResourceID: endpoint[:i], Container: endpoint[i+len(between):]}
	}
	return controlclient.DeadLetterDestination{Container: endpoint}
}

// filter returns what the flags make of a filter, nil if none was given.
func (s *subscriptionSettings) filter(given *pflag.FlagSet, f controlclient.SubscriptionFilter) *controlclient.SubscriptionFilter {
	something := s.types.texts != nil || s.conditions.conditions != nil || s.caseSensitive.value != nil || s.arrays.value != nil
	if given.Changed("subject-begins-with") {
		f.SubjectBeginsWith, something = s.beginsWith, true
	}
	if given.Changed("subject-ends-with") {
		f.SubjectEndsWith, something = s.endsWith, true
	}
	if !something {
		return nil
	}
	if s.types.texts != nil {
		f.IncludedEventTypes = s.types.texts
		if slices.ContainsFunc(f.IncludedEventTypes, func(t string) bool { return strings.EqualFold(t, "All") }) {
			f.IncludedEventTypes = nil
		}
	}
	if s.caseSensitive.value != nil {
		f.IsSubjectCaseSensitive = *s.caseSensitive.value
	}
	if s.arrays.value != nil {
		f.EnableAdvancedFilteringOnArrays = *s.arrays.value
	}
	if s.conditions.conditions != nil {
		f.AdvancedFilters = s.conditions.conditions
	}
	return &f
}

// destination returns what the flags make of a destination; there is none in a
// create. What is kept of one has no address, no attributes, no certificates, and
// Hidden in the place of secrets, which is how the server takes what is to stay.
func (s *subscriptionSettings) destination(env Env, given *pflag.FlagSet, there *controlclient.Destination) (*controlclient.Destination, error) {
	var d controlclient.Destination
	if there != nil {
		d = *there
	}
	d.Properties.EndpointBaseURL, d.Properties.DeliveryAttributeMappings = "", nil
	if there := d.Properties.TLS; there != nil {
		d.Properties.TLS = &controlclient.BrokerTLS{Enabled: there.Enabled}
	}
	switch {
	case given.Changed("endpoint"):
		to, err := parseEndpoint(s.endpoint, s.ofType.value)
		if err != nil {
			return nil, Usage("--endpoint: %s", err)
		}
		to.aim(&d)
	case s.ofType.value != "" && s.ofType.value != d.EndpointType:
		return nil, Usage("--endpoint-type is another than that of the address there is: give the address with --endpoint, too")
	}
	if err := refuseOthers(given, d.EndpointType); err != nil {
		return nil, err
	}
	p := &d.Properties
	if s.maxEvents.value != nil {
		p.MaxEventsPerBatch = s.maxEvents.value
	}
	if s.batchKB.value != nil {
		p.PreferredBatchSizeInKilobytes = s.batchKB.value
	}
	if s.attributes.attributes != nil {
		p.DeliveryAttributeMappings = s.attributes.attributes
	}
	if d.EndpointType == controlclient.ToWebHook {
		return &d, nil
	}
	moved := there != nil && !slices.Equal(d.Properties.Servers, there.Properties.Servers)
	return &d, s.broker.into(env, given, &d, moved)
}

// refuseOthers refuses flags that are not for a type of destination.
func refuseOthers(given *pflag.FlagSet, ofType string) error {
	for _, f := range []struct {
		names []string
		types []string
		words string
	}{
		{webhookOnly, []string{controlclient.ToWebHook}, "HTTP receivers"},
		{natsOnly, []string{controlclient.ToNatsJetStream}, "NATS"},
		{kafkaOnly, []string{controlclient.ToKafka}, "Kafka"},
		{brokerOnly, []string{controlclient.ToNatsJetStream, controlclient.ToKafka}, "NATS and Kafka"},
	} {
		name := changed(given, f.names)
		if name == "" || slices.Contains(f.types, ofType) {
			continue
		}
		more := ""
		if strings.HasPrefix(name, "username") || strings.HasPrefix(name, "password") {
			more = "; the server's own user is that of dockbell login, or of DOCKBELL_USERNAME and DOCKBELL_PASSWORD"
		}
		return Usage("--%s is for %s, and this is a destination of type %s: leave it out%s", name, f.words, ofType, more)
	}
	return nil
}

// noMechanism refuses a user of Kafka whose way to log in is not said: to choose it
// is to say who may see the password.
const noMechanism = "a user of Kafka logs in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512: choose with --sasl-mechanism"

// into puts what was given into a destination that is a broker. One way to log in
// takes the place of another. The server shows what is secret to no other servers
// than those it was given for; moved says that these are others.
func (b *brokerSettings) into(env Env, given *pflag.FlagSet, d *controlclient.Destination, moved bool) error {
	p := &d.Properties
	loggedIn := p.Password+p.Token+p.Credentials != ""
	if moved {
		p.Password, p.Token, p.Credentials = "", "", ""
	}
	way := ""
	for _, f := range []struct{ flag, value string }{{"username", b.username}, {"broker-token", b.token}, {"broker-creds", b.credentials}} {
		if f.value != "" && way != "" {
			return Usage("--%s and --%s are two ways to log in: give one of them", way, f.flag)
		}
		if f.value != "" {
			way = f.flag
		}
	}
	if way != "" || given.Changed("username") {
		p.Username, p.Password, p.Token, p.Credentials = "", "", "", ""
	}
	if given.Changed("username") && b.username == "" {
		p.Mechanism, loggedIn = "", false
	}
	for _, f := range []struct {
		flag, value string
		to          *string
	}{
		{"mode", b.mode.value, &p.Mode},
		{"record-key", b.recordKey.value, &p.Key},
		{"sasl-mechanism", b.mechanism.value, &p.Mechanism},
		{"username", b.username, &p.Username},
		{"password", b.password, &p.Password},
		{"broker-token", b.token, &p.Token},
	} {
		if given.Changed(f.flag) {
			*f.to = f.value
		}
	}
	if err := b.files(p); err != nil {
		return err
	}
	switch {
	case b.passwordStdin && given.Changed("password"):
		return Usage("give the password once: with --password or with --password-stdin")
	case b.passwordStdin:
		password, err := readLine(env.Stdin)
		if err != nil {
			return Usage("--password-stdin: %s", err)
		}
		p.Password = password
	case p.Username != "" && p.Password == "":
		p.Password = env.Getenv(brokerPasswordVariable)
	}
	switch {
	case b.username != "" && p.Password == "":
		return Usage("there is no password for --username %s of the broker: use --password-stdin, --password or %s", b.username, brokerPasswordVariable)
	case d.EndpointType == controlclient.ToKafka && p.Username != "" && p.Mechanism == "":
		return Usage("%s", noMechanism)
	case p.Username == "" && p.Password != "":
		return Usage("the password of the broker has no user name: give --username, too")
	case d.EndpointType == controlclient.ToNatsJetStream && p.Username+p.Token+p.Credentials == "":
		p.Token = env.Getenv(brokerTokenVariable)
	}
	if moved && loggedIn && p.Password+p.Token+p.Credentials == "" {
		return Usage("other servers are not told the credentials there are: give them again, as in create, or --username '' for none")
	}
	return nil
}

// files reads the files that the flags name, and says whether the connection is
// encrypted.
func (b *brokerSettings) files(p *controlclient.DestinationProperties) error {
	tls := controlclient.BrokerTLS{}
	if p.TLS != nil {
		tls = *p.TLS
	}
	if b.tls.value != nil {
		if tls.Enabled = *b.tls.value; !tls.Enabled {
			tls = controlclient.BrokerTLS{}
		}
	}
	for _, f := range []struct {
		flag, path string
		content    *string
		secure     bool
	}{
		{"broker-creds", b.credentials, &p.Credentials, false},
		{"ca", b.ca, &tls.CA, true},
		{"certificate", b.certificate, &tls.Certificate, true},
		{"key", b.key, &tls.Key, true},
	} {
		if f.path == "" {
			continue
		}
		content, err := readFile(f.path, maxPEM)
		if err != nil {
			return Usage("--%s: %s", f.flag, err)
		}
		*f.content = string(content)
		if tls.Enabled = tls.Enabled || f.secure; f.secure && b.tls.value != nil && !*b.tls.value {
			return Usage("--%s is for a connection with TLS, and --tls is false: leave one of them out", f.flag)
		}
	}
	if p.TLS != nil || tls != (controlclient.BrokerTLS{}) {
		p.TLS = &tls
	}
	return nil
}
