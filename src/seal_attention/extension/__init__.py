# SPDX-License-Identifier: Apache-2.0
"""A model -> the same model with a longer window, nothing of it trained."""
