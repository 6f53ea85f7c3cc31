package app

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// patience is how long one direction of a request may still wait for its
// client. Waiting spends it, bytes that move earn it back, up to what there was at
// the beginning. So a client that stops is cut off after that time, one that is
// slower than the rate after a while, and one that is faster never, however much
// there is to send.
type patience struct {
	most time.Duration
	rate int64 // bytes that earn a second
	left time.Duration
}

func newPatience(most time.Duration, rate int64) patience {
	return patience{most: most, rate: rate, left: most}
}

// spend accounts for one wait, in which so many bytes moved.
func (p *patience) spend(waited time.Duration, moved int64) {
	p.left = min(p.most, p.left-waited+time.Duration(moved)*time.Second/time.Duration(p.rate))
}

// patient bounds how long requests wait for their clients: for each byte of a
// request's body, for each byte of an answer that the client takes, and for what
// net/http does after next. It works by deadlines of the request, so that nothing is
// between net/http and the connection, and none is set while a handler waits for
// something else: streams and long polls go on.
func (s *Server) patient(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		http2 := r.ProtoMajor == 2
		if http2 {
			control.SetWriteDeadline(time.Time{}) // of http.Server.WriteTimeout: it would end a silent stream
		}
		answer := &patientWriter{ResponseWriter: w, control: control, patience: newPatience(s.limits.patience, s.limits.rate), http2: http2}
		if !http2 && r.TLS == nil && r.Method == http.MethodGet {
			answer.kernel, _ = w.(io.ReaderFrom)
		}
		var body *patientBody
		if r.Body != nil && r.Body != http.NoBody {
			body = &patientBody{ReadCloser: r.Body, control: control, patience: newPatience(s.limits.patience, s.limits.rate), http2: http2}
			// In a copy: net/http looks at the body that it made when it decides
			// whether the connection can be used again.
			r = r.WithContext(r.Context())
			r.Body = body
			body.leave() // also a body that no handler reads is waited for
		}
		defer func() {
			// What is left to do is net/http's: to send what is buffered, and to
			// read away a little of a body that nobody wanted.
			control.SetWriteDeadline(time.Now().Add(s.limits.patience))
			if body != nil {
				body.leave()
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

// patientBody is the body of a request whose client may not keep it waiting.
type patientBody struct {
	io.ReadCloser
	control  *http.ResponseController
	patience patience
	http2    bool
	ended    bool // net/http watches the connection from now on, and a deadline would end the request
}

func (b *patientBody) Read(p []byte) (int, error) {
	if b.ended {
		return b.ReadCloser.Read(p)
	}
	began := time.Now()
	b.control.SetReadDeadline(began.Add(b.patience.left))
	n, err := b.ReadCloser.Read(p)
	b.patience.spend(time.Since(began), int64(n))
	b.ended = err != nil
	if b.http2 && !b.ended {
		b.control.SetReadDeadline(time.Time{}) // HTTP/2 ends a body at its deadline, also one that nobody waits for
	}
	return n, err
}

// Close may read what is left of a short body.
func (b *patientBody) Close() error {
	b.leave()
	b.ended = true
	return b.ReadCloser.Close()
}

// leave bounds what net/http reads of the body by itself, before it sends the
// header of an answer: so there has to be time left to send that. HTTP/2 reads
// nothing.
func (b *patientBody) leave() {
	if !b.ended && !b.http2 {
		b.control.SetReadDeadline(time.Now().Add(b.patience.most / 2))
	}
}

// Of an answer so much is sent under one deadline. The kernel says how much of a
// file it has sent when the time is over; elsewhere a piece has to be small enough
// for the slowest client.
const (
	filePiece  = 4 << 20
	writePiece = 32 << 10
)

// patientWriter is an answer that its client has to take.
type patientWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience patience
	http2    bool
	own      bool          // the handler has set a deadline itself
	kernel   io.ReaderFrom // sends files without copying them; nil: there is no such way
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// SetWriteDeadline is for http.ResponseController: a handler that sets a deadline
// knows better, until it takes that back.
func (w *patientWriter) SetWriteDeadline(at time.Time) error {
	w.own = !at.IsZero()
	return w.control.SetWriteDeadline(at)
}

// wait does one thing that can block until the client takes something.
func (w *patientWriter) wait(send func() (int64, error)) (int64, error) {
	if w.own {
		return send()
	}
	began := time.Now()
	w.control.SetWriteDeadline(began.Add(w.patience.left))
	n, err := send()
	w.patience.spend(time.Since(began), n)
	return n, err
}

// rest takes the deadline back where it would count while nothing is sent.
func (w *patientWriter) rest() {
	if w.http2 && !w.own {
		w.control.SetWriteDeadline(time.Time{})
	}
}

func (w *patientWriter) Write(p []byte) (n int, err error) {
	defer w.rest()
	for {
		piece := p[n:min(len(p), n+writePiece)]
		sent, err := w.wait(func() (int64, error) {
			n, err := w.ResponseWriter.Write(piece)
			return int64(n), err
		})
		n += int(sent)
		if err != nil || n == len(p) {
			return n, err
		}
	}
}

// Flush implements http.Flusher.
func (w *patientWriter) Flush() { w.FlushError() }

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error {
	defer w.rest()
	_, err := w.wait(func() (int64, error) { return 0, w.control.Flush() })
	return err
}

// copies has the buffers for what the kernel does not send.
var copies = sync.Pool{New: func() any { return new([writePiece]byte) }}

// ReadFrom implements io.ReaderFrom. A part of a file goes to the kernel
// (sendfile) as far as there is that way.
func (w *patientWriter) ReadFrom(src io.Reader) (n int64, err error) {
	part, _ := src.(*io.LimitedReader)
	if part != nil && w.kernel != nil && w.Header().Get("Content-Length") != "" {
		if file, ok := part.R.(*os.File); ok {
			return w.sendFile(file, &part.N)
		}
	}
	buf := copies.Get().(*[writePiece]byte)
	defer copies.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{w}, src, buf[:])
}

// sendFile sends so many bytes of a file, and counts left down. A deadline that
// passes while the client takes something, if slowly, is followed by another.
func (w *patientWriter) sendFile(file *os.File, left *int64) (n int64, err error) {
	// The header first: what fails after it is the file's.
	if err := w.FlushError(); err != nil {
		return 0, err
	}
	at, err := file.Seek(0, io.SeekCurrent)
	for err == nil && *left > 0 {
		var sent int64
		sent, err = w.wait(func() (int64, error) {
			return w.kernel.ReadFrom(&io.LimitedReader{R: file, N: min(*left, filePiece)})
		})
		n += sent
		*left -= sent
		if sent == 0 {
			break // the end of the file, or of what the client takes
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && w.patience.left > 0 {
			// Unless the file went another way than by the kernel: then more was read
			// of it than was sent.
			if now, serr := file.Seek(0, io.SeekCurrent); serr == nil && now == at+n {
				err = nil
			}
		}
	}
	return n, err
}
