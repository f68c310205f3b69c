//go:build entrypoint_signals

package pid1_test

func init() { allInherited = true }
