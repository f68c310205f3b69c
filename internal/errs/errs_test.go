// SPDX-License-Identifier: MIT

package errs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/errs"
)

// asPath is an error that becomes a *fs.PathError on demand.
type asPath struct{ to *fs.PathError }

func (asPath) Error() string { return "as path" }

func (e asPath) As(target any) bool {
	to, ok := target.(**fs.PathError)
	if ok {
		*to = e.to
	}
	return ok
}

// AsType finds what errors.As finds.
func TestAsType(t *testing.T) {
	first, second := &fs.PathError{Op: "first"}, &fs.PathError{Op: "second"}
	other := errors.New("other")
	for _, err := range []error{
		nil,
		other,
		first,
		fmt.Errorf("wrapped: %w", first),
		fmt.Errorf("two: %w, %w", other, first),
		errors.Join(other, fmt.Errorf("deep: %w", errors.Join(other, second)), first),
		asPath{second},
		errors.Join(asPath{second}, first),
		&net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}},
		fmt.Errorf("wrapped: %w", &net.DNSError{}),
	} {
		var path *fs.PathError
		wantOK := errors.As(err, &path)
		if got, ok := errs.AsType[*fs.PathError](err); got != path || ok != wantOK {
			t.Errorf("AsType[*fs.PathError](%v) = %v, %v; errors.As: %v, %v", err, got, ok, path, wantOK)
		}
		var network net.Error
		wantOK = errors.As(err, &network)
		if got, ok := errs.AsType[net.Error](err); got != network || ok != wantOK {
			t.Errorf("AsType[net.Error](%v) = %v, %v; errors.As: %v, %v", err, got, ok, network, wantOK)
		}
	}
}
