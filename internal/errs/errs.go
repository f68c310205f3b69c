// SPDX-License-Identifier: MIT

// Package errs is what package errors lacks in Go 1.25.
package errs

// AsType is errors.AsType of Go 1.26. Unlike errors.As it needs no reflection, which
// would make every program 24 KiB larger.
func AsType[E error](err error) (found E, ok bool) {
	for err != nil {
		if e, ok := err.(E); ok {
			return e, true
		}
		if e, ok := err.(interface{ As(any) bool }); ok && e.As(&found) {
			return found, true
		}
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			err = e.Unwrap()
			continue
		case interface{ Unwrap() []error }:
			for _, part := range e.Unwrap() {
				if found, ok := AsType[E](part); ok {
					return found, true
				}
			}
		}
		break
	}
	return found, false
}
