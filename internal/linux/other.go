//go:build !linux

package linux

import (
	"errors"
	"os"
	"syscall"
)

func IsSubreaper() (bool, error) { return false, errors.ErrUnsupported }

func SetSubreaper(bool) error { return errors.ErrUnsupported }

func AwaitExit(pid int, stopped func(syscall.Signal)) {}

func PeekStatus(pid int) int { return 1 }

func GroupOrphaned() bool { return false }

func Foreground(*os.File) (pgrp int, err error) { return 0, errors.ErrUnsupported }

func SetForeground(*os.File, int) error { return errors.ErrUnsupported }
