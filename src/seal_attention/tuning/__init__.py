# SPDX-License-Identifier: Apache-2.0
"""Samples -> an adapter: the answer-only loss, many questions over one prefix, and the loop around them."""
