"""Predicts the progression of diabetes: schema, split, training, evaluation and scoring, and no platform."""
