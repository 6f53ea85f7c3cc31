package outbound

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"
)

// BenchmarkPost prints, as bare-ratio, how many requests Post makes for each
// that the barest use of net/http makes to the same receiver.
func BenchmarkPost(b *testing.B) {
	s := serve(b, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "OK")
	})
	body := bytes.Repeat([]byte("x"), 600)
	header := http.Header{
		"Content-Type": {"application/json; charset=utf-8"}, "User-Agent": {"AzureContainerRegistry/1.0"}, "Authorization": {"Bearer s3cret"},
		"Webhook-Id": {"5f4c8c0e-7d1b-4a6e-9a25-2f6f0a6a7c11"}, "Webhook-Timestamp": {"1741944413"}, "Webhook-Signature": {"v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4="},
	}
	public := []string{"Content-Type", "Content-Length", "User-Agent", "Webhook-Id", "Webhook-Timestamp"}
	bare := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	defer bare.CloseIdleConnections()
	c := client(b, loopback)

	run := func(b *testing.B, one func()) time.Duration {
		b.ReportAllocs()
		start := time.Now()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				one()
			}
		})
		return time.Since(start) / time.Duration(b.N)
	}
	var barePer time.Duration
	b.Run("bare", func(b *testing.B) {
		barePer = run(b, func() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, s.URL, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header = header
			res, err := bare.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, res.Body)
			res.Body.Close()
		})
	})
	b.Run("post", func(b *testing.B) {
		per := run(b, func() {
			if res := c.Post(b.Context(), Request{URL: s.URL, Header: header, Body: body, Timeout: 10 * time.Second, Public: public}); res.Class != None {
				b.Error(res.Message)
			}
		})
		if per > 0 {
			b.ReportMetric(float64(barePer)/float64(per), "bare-ratio")
		}
	})
}
