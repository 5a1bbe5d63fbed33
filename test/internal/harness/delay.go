package harness

import (
	"context"
	"io"
	"net/http"
	"path"
	"slices"
	"time"
)

// Delay lets watches of some resources tell everything later, in the same order.
type Delay struct {
	By        time.Duration
	Resources []string
}

// Answered is for Proxy.
func (d Delay) Answered(response *http.Response) error {
	request := response.Request
	if request.URL.Query().Get("watch") != "" && slices.Contains(d.Resources, path.Base(request.URL.Path)) {
		response.Body = delay(request.Context(), response.Body, d.By)
	}
	return nil
}

// delayed is a stream that comes later than it is sent.
type delayed struct {
	io.Closer
	done   <-chan struct{}
	pieces <-chan piece
	// rest is what is left of the last piece.
	rest piece
}

// piece is a part of a stream, or its end.
type piece struct {
	due  time.Time
	data []byte
	err  error
}

// delay reads from a stream, until that ends or its request does.
func delay(ctx context.Context, stream io.ReadCloser, by time.Duration) *delayed {
	pieces := make(chan piece, 1<<10)
	go func() {
		for {
			data := make([]byte, 32<<10)
			n, err := stream.Read(data)
			select {
			case pieces <- piece{due: time.Now().Add(by), data: data[:n], err: err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return &delayed{Closer: stream, done: ctx.Done(), pieces: pieces}
}

// Read implements io.Reader.
func (d *delayed) Read(into []byte) (int, error) {
	if len(d.rest.data) == 0 && d.rest.err == nil {
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	if len(d.rest.data) == 0 && d.rest.err != nil {
		return 0, d.rest.err
	}
	n := copy(into, d.rest.data)
	d.rest.data = d.rest.data[n:]
	return n, nil
}

// next waits until the next piece is due, or nobody reads any more.
func (d *delayed) next() error {
	select {
	case d.rest = <-d.pieces:
	case <-d.done:
		return io.EOF
	}
	timer := time.NewTimer(time.Until(d.rest.due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-d.done:
		return io.EOF
	}
}
