//go:build inheritedsignals

package pid1_test

func init() { allInherited = true }
