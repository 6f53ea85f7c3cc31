package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/dockbell/dockbell/internal/config"
)

// healthTimeout bounds the question and the answer of Health.
const healthTimeout = 5 * time.Second

// Health asks the server that runs on this machine with the same settings
// whether it is ready. The errors are for whoever looks after it.
func Health(ctx context.Context, cfg *config.Config) error {
	client := &http.Client{Timeout: healthTimeout, Transport: &http.Transport{
		// To where the server listens, whatever its names lead to. Where that is
		// every address, the dialer takes this machine's own.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, cfg.Listen)
		},
		// A certificate is for names that clients use. No secret is sent here, and
		// nothing but yes or no is learnt.
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme(cfg)+"://localhost/readyz", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("no server is ready on %s: %w: if it was started with other settings, give them to this command too", cfg.Listen, err)
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil
	}
	const most = 200 // bytes of what is said; it may be anybody who listens there
	said, _ := io.ReadAll(io.LimitReader(res.Body, most))
	return fmt.Errorf("the server on %s is not ready: it answers %s: %s", cfg.Listen, res.Status, strings.TrimSpace(string(said)))
}
