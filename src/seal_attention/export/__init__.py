# SPDX-License-Identifier: Apache-2.0
"""An adapter -> weights that need no adapter."""
