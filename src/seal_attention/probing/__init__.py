# SPDX-License-Identifier: Apache-2.0
"""A model and a context with questions -> what each attention head does for the answers, the model left as it is."""
