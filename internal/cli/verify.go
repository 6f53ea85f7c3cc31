package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockbell/dockbell/internal/fault"
	"github.com/dockbell/dockbell/internal/signature"
)

// secretVariable is the environment variable with the secret to verify with.
const secretVariable = "DOCKBELL_WEBHOOK_SECRET"

func (h *webhooks) verify() *cobra.Command {
	var secret string
	tolerance := span{signature.Tolerance}
	cmd := &cobra.Command{
		Use:   "verify [FILE|-]",
		Short: "Check the signature of a captured request.",
		Long: "Check the signature of a captured request: request line, headers, an empty line, and the body, as the receiver got them,\n" +
			"in a file or on standard input. The secret is that of the webhook -n, the one of --secret, or else " + secretVariable + ".\n" +
			"Only with -n is a server needed.",
		Example: "  dockbell webhook verify request.txt -r contoso -n deployhook\n  " + secretVariable + "=whsec_… dockbell webhook verify --tolerance 0 < request.txt",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return Usage("%s takes one file, and %q is the second", cmd.CommandPath(), args[1])
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&secret, "secret", "", "the `secret`, whsec_…; else "+secretVariable+", which others on this machine cannot see")
	h.whichFlags(cmd, true)
	flags.Var(&tolerance, "tolerance", "how old the request may be; 0 for any age")
	Group(flags, "How")
	h.conn.flags(flags)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if secret != "" && h.name != "" {
			return Usage("there are two secrets to verify with: give either --secret or -n")
		}
		request, err := h.readCapture(args)
		if err != nil {
			return err
		}
		var keys []key
		if h.name != "" {
			keys, err = h.fetchKeys(cmd.Context())
		} else if secret = firstOf(secret, h.env.Getenv(secretVariable)); secret != "" {
			keys, err = readKeys("the secret given", secret)
		} else {
			err = Usage("there is no secret to verify with: use -n for that of a webhook, %s, or --secret", secretVariable)
		}
		if err != nil {
			return err
		}
		verdict, err := request.verify(keys, time.Now(), tolerance.Duration)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(h.env.Stdout, verdict)
		return err
	}
	return cmd
}

// readCapture reads the request from the file that the arguments name, or from
// standard input.
func (h *webhooks) readCapture(args []string) (capture, error) {
	var text []byte
	var err error
	if len(args) == 1 && args[0] != "-" {
		text, err = readFile(args[0], maxCapture)
	} else {
		if h.env.ReadPassword != nil { // a terminal
			h.env.hint("paste the request, headers, an empty line and the body, and end it with Ctrl-D")
		}
		text, err = readAtMost(h.env.Stdin, "the request", maxCapture)
	}
	if err != nil {
		return capture{}, err
	}
	return parseCapture(text)
}

// key is a secret and what people call it.
type key struct {
	name   string
	secret signature.Secret
}

// readKeys returns the key that text is.
func readKeys(name, text string) ([]key, error) {
	s, err := signature.Parse(text)
	return []key{{name, s}}, err
}

// fetchKeys returns the secrets of the webhook that the flags name.
func (h *webhooks) fetchKeys(ctx context.Context) ([]key, error) {
	c, err := h.conn.connect()
	if err != nil {
		return nil, err
	}
	registry, err := c.registryName(ctx, h.registry)
	if err != nil {
		return nil, err
	}
	cfg, err := c.CallbackConfig(ctx, registry, h.name)
	if err != nil {
		return nil, c.explain(err)
	}
	keys, err := readKeys("the secret of webhook "+h.name, cfg.SigningSecret)
	if err != nil || cfg.PreviousSigningSecret == "" {
		return keys, err
	}
	previous, err := readKeys(fmt.Sprintf("the previous secret of webhook %s, which signs until %s", h.name, cfg.PreviousValidUntil.UTC().Format(time.RFC3339)), cfg.PreviousSigningSecret)
	return append(keys, previous...), err
}

// maxCapture bounds a captured request, in bytes. The largest that is sent is
// well below.
const maxCapture = 1 << 20

// capture is a request as a receiver got it.
type capture struct {
	header http.Header
	body   []byte

	// loose is set where the headers do not say how long the body is: a line end
	// behind it may be of the file alone.
	loose bool
}

// parseCapture reads a request as it is on the wire: request line, headers, an
// empty line, body. The request line may be missing, and lines may end without a
// carriage return. What is behind a body of known length does not count.
//
// It fails with fault.Invalid and a sentence without anything of the request,
// which may hold secrets.
func parseCapture(text []byte) (capture, error) {
	if len(bytes.TrimSpace(text)) == 0 {
		return capture{}, fault.New(fault.Invalid, "there is no request to verify: give the whole request, headers and body, in a file or on standard input")
	}
	if line, rest, ok := bytes.Cut(text, []byte("\n")); ok && isRequestLine(string(line)) {
		text = rest
	}
	r := bufio.NewReader(bytes.NewReader(text))
	header, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return capture{}, fault.Wrap(err, fault.Invalid, "the request's headers cannot be read: each is a line like Webhook-Id: value, and an empty line parts them from the body")
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return capture{}, err
	}
	c := capture{header: http.Header(header), body: body}
	length := c.header.Get("Content-Length")
	if length == "" {
		c.loose = true
		return c, nil
	}
	n, err := strconv.ParseUint(length, 10, 31)
	switch {
	case err != nil:
		return capture{}, fault.Wrap(err, fault.Invalid, "the request's Content-Length is no number of bytes")
	case len(body) < int(n):
		return capture{}, fault.New(fault.Invalid, "the request has %d bytes of body and says %d: the capture was cut off, or changed", len(body), n)
	}
	c.body = body[:n]
	return c, nil
}

// isRequestLine tells a request line from a header.
func isRequestLine(line string) bool {
	fields := strings.Fields(line)
	return len(fields) == 3 && strings.HasPrefix(fields[2], "HTTP/") && !strings.HasSuffix(fields[0], ":")
}

// verify says in a line by what the request is proved, or fails with fault.Invalid
// and why it is not.
func (c capture) verify(keys []key, now time.Time, tolerance time.Duration) (string, error) {
	var secrets []signature.Secret
	for _, k := range keys {
		secrets = append(secrets, k.secret)
	}
	if c.loose && signature.Verify(c.header, c.body, now, 0, secrets...) != nil {
		c.body = bytes.TrimSuffix(bytes.TrimSuffix(c.body, []byte("\n")), []byte("\r"))
	}
	if err := signature.Verify(c.header, c.body, now, tolerance, secrets...); err != nil {
		wayOut := ""
		if signature.Verify(c.header, c.body, now, 0, secrets...) == nil {
			wayOut = "; for a request that was kept use --tolerance 0"
		}
		return "", fault.Wrap(err, fault.Invalid, "not valid: %s%s", fault.As(err).Message, wayOut)
	}
	if err := c.verifyStyles(secrets); err != nil {
		return "", err
	}
	signer := ""
	for _, k := range keys {
		if signer == "" && signature.Verify(c.header, c.body, now, 0, k.secret) == nil {
			signer = k.name
		}
	}
	seconds, err := strconv.ParseInt(c.header.Get(signature.TimestampField), 10, 64)
	if err != nil {
		return "", err // not after Verify
	}
	return fmt.Sprintf("valid: signed %s with %s", ago(now.Sub(time.Unix(seconds, 0))), signer), nil
}

// verifyStyles checks the signatures of other formats, where the request has
// them.
func (c capture) verifyStyles(secrets []signature.Secret) error {
	for _, style := range []signature.Style{signature.GitHub, signature.Flux} {
		sent := c.header.Get(style.Field())
		if sent != "" && !signature.VerifyText(sent, c.body, secrets...) {
			return fault.New(fault.Invalid, "not valid: webhook-signature is right, and %s is made with another secret", style.Field())
		}
	}
	return nil
}

// ago says in words how long ago something was.
func ago(d time.Duration) string {
	d = d.Truncate(time.Second)
	if d < 0 {
		return "for a time that is " + inWords(-d) + " ahead of this clock"
	}
	return inWords(d) + " ago"
}

// readAtMost returns what r has, at most max bytes; name is what people call it.
func readAtMost(r io.Reader, name string, max int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(content)) > max {
		err = fmt.Errorf("%s is larger than %d bytes", name, max)
	}
	return content, err
}
