// SPDX-License-Identifier: Apache-2.0

//go:build race

package loop

func init() { raceDetector = true }
