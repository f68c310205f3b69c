//go:build !unix

package pid1

import "errors"

func replace(path string, argv, env []string) error { return errors.ErrUnsupported }

func execCause(path string, err error) string { return "" }
